"""Personal prompts for the training of a reward model (paper 5.1): who gets one, and from which pairs.

Users with enough choices get a prompt from all their context pairs. Cross-fitted, they
get one more for each conversation, made without that conversation's pairs: later turns
of a conversation hold the text that was chosen, so leaving out a single pair would still
give its label away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from personalrm.errors import BadInput
from personalrm.induction.fit_job import FitEngine, Fitted, Todo
from personalrm.preferences.prepared_prompts import PreparedPrompt
from personalrm.preferences.splits import split_context, split_user
from personalrm.preferences.users import User

MIN_PAIRS = 5


@dataclass
class Preparation:
    """What was done; everything left out is counted."""

    n_users: int = 0
    """Users with a prompt from all their context pairs."""
    n_cross_fitted: int = 0
    """Prompts made without one conversation."""
    n_too_few: int = 0
    """Users with fewer choices than asked for, who stay without a prompt."""
    n_single: int = 0
    """Users with one conversation only, of whom nothing can be said without it."""
    failed: dict[str, str] = field(default_factory=dict)
    """Users of whom a prompt could not be made, with the reason."""


def prepare_prompts(
    engine: FitEngine,
    users: Sequence[User],
    report: Preparation,
    *,
    min_pairs: int = MIN_PAIRS,
    cross_fitted: bool = False,
    hold_out: bool = False,
    only: Mapping[str, Collection[str]] | None = None,
) -> Iterator[PreparedPrompt]:
    """The prompts, as they are ready; target pairs are never seen.

    Args:
        engine: What makes prompts; sees everybody first.
        users: Everybody, prompts or not: the others tell the embedded engine what most people like.
        report: Filled in on the way.
        min_pairs: Fewest choices of a user who gets a prompt.
        cross_fitted: Also make a prompt without each conversation.
        hold_out: Leave out each user's targets by the split rule too, for users who will be evaluated.
        only: Conversations to cross-fit, by user id; all of them where left out.

    Raises:
        BadInput: If `min_pairs` is below 1.
    """
    if min_pairs < 1:
        raise BadInput(f"min_pairs must be at least 1, got {min_pairs!r}")
    split = split_user if hold_out else split_context
    seen = [User(user.user_id, split(user.pairs).context) for user in users]
    engine.learn([user for user in seen if user.pairs])
    wanted: list[tuple[Todo, str | None]] = []  # each with the conversation whose pairs are left out
    for user in seen:
        if len({pair.choice_key for pair in user.pairs}) < min_pairs:
            report.n_too_few += 1
            continue
        wanted.append((Todo(user, None, ""), None))
        keys = list(dict.fromkeys(pair.conversation_key for pair in user.pairs)) if cross_fitted else []
        chosen = [key for key in keys if only is None or key in only.get(user.user_id, ())]
        if chosen and len(keys) == 1:
            report.n_single += 1
            continue
        for key in chosen:
            rest = tuple(pair for pair in user.pairs if pair.conversation_key != key)
            wanted.append((Todo(User(user.user_id, rest), None, ""), key))
    # A model's come as they are ready; each waits for those before it, so that equal prompts make equal files.
    places = {id(todo): place for place, (todo, _) in enumerate(wanted)}
    ready: dict[int, Fitted] = {}
    n_handed_on = 0
    for fitted in engine.fit_each(todo for todo, _ in wanted):
        ready[places[id(fitted.todo)]] = fitted
        while (following := ready.pop(n_handed_on, None)) is not None:
            left_out = wanted[n_handed_on][1]
            n_handed_on += 1
            if following.prompt is None:
                report.failed[following.todo.user.user_id] = following.reason
                continue
            report.n_users += left_out is None
            report.n_cross_fitted += left_out is not None
            yield PreparedPrompt(following.prompt, left_out)
