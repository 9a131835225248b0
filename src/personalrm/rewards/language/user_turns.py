"""What a Bradley-Terry model is told of a user, as a system turn in front of every conversation.

Nothing (plain), the persona, persona and demonstrations (paper 5.1), or raw pairs of the
user's history (few-shot, as FSPO does). Users of whom nothing is known get no turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prepared_prompts import PreparedPrompts, read_prepared
from personalrm.prompts.rendering import reward_instructions

Knows = Literal["nothing", "persona", "persona_demonstrations", "history"]
KNOWS: dict[str, str] = {
    "nothing": "bradley_terry",
    "persona": "bradley_terry_persona",
    "persona_demonstrations": "bradley_terry_persona_and_demonstrations",
    "history": "bradley_terry_history",
}
"""What is told -> the method's name in tables."""


@dataclass(frozen=True, repr=False)
class UserTurn:
    """What is known of one user: the system turn."""

    system: str
    """Empty for the average user."""

    def __repr__(self) -> str:
        return f"UserTurn(characters={len(self.system)})"


class UserTurns(Protocol):
    """Says what to tell of a user."""

    @property
    def knows(self) -> Knows:
        """What kind of thing is told."""
        ...

    def of_training(self, pair: PreferencePair) -> str:
        """The system turn to train on a pair with; never written from the pair's own label where avoidable."""
        ...

    def of_context(self, context: Sequence[PreferencePair]) -> str:
        """The system turn of the user whose context pairs these are; empty for an empty context."""
        ...


@dataclass(frozen=True)
class Nothing:
    """Plain Bradley-Terry: the same for everybody."""

    knows: Knows = "nothing"

    def of_training(self, pair: PreferencePair) -> str:
        """Empty."""
        return ""

    def of_context(self, context: Sequence[PreferencePair]) -> str:
        """Empty."""
        return ""


@dataclass(frozen=True, repr=False)
class SavedPrompts:
    """Personas, and demonstrations where wanted, from prompts that `prepare-prompts` or `fit` wrote."""

    prompts: PreparedPrompts
    knows: Knows = "persona"

    def __post_init__(self) -> None:
        if self.knows not in ("persona", "persona_demonstrations"):
            raise BadInput(f"saved prompts hold persona or persona_demonstrations, not {self.knows!r}")

    def of_training(self, pair: PreferencePair) -> str:
        """From the prompt made without the pair's conversation, where there is one."""
        return self._told(self.prompts.for_training(pair), without=pair.hash)

    def of_context(self, context: Sequence[PreferencePair]) -> str:
        """From the user's prompt, or from one made without a conversation where that conversation is left out.

        Raises:
            TargetLeak: If every prompt of the user was made from pairs outside the context.
        """
        owners = {pair.user_id for pair in context}
        if len(owners) > 1:
            raise BadInput(f"a context holds pairs of {len(owners)} users; pass one user's pairs")
        return self._told(self.prompts.for_context(next(iter(owners)), context) if owners else None)

    def _told(self, prompt: PersonalPrompt | None, *, without: str = "") -> str:
        if prompt is None:
            return ""
        shown = [d.shown.pair for d in prompt.demonstrations] if self.knows == "persona_demonstrations" else []
        return reward_instructions(prompt.persona, [pair for pair in shown if pair.hash != without])

    def __repr__(self) -> str:
        return f"SavedPrompts({self.prompts!r}, knows={self.knows!r})"


class RawHistory:
    """k raw pairs of the user in place of words about them.

    A training pair is shown other pairs of its user, never one of its own conversation,
    whose later turns hold the chosen text. The order of a user's pairs is fixed by their
    hashes and the seed, so most of a user's turns begin alike and are computed once.

    Args:
        pairs: The training pairs.
        k: Most pairs shown.
        seed: Of the order.
    """

    knows: Knows = "history"

    def __init__(self, pairs: Sequence[PreferencePair] = (), *, k: int = 4, seed: int = 0) -> None:
        if k < 1:
            raise BadInput(f"a history shows at least 1 pair, got k = {k!r}")
        self.k, self.seed = k, seed
        self._of: dict[str, list[PreferencePair]] = {}
        for pair in sorted(pairs, key=self._order):
            self._of.setdefault(pair.user_id, []).append(pair)

    def of_training(self, pair: PreferencePair) -> str:
        """k of the user's other pairs."""
        others = [other for other in self._of.get(pair.user_id, []) if other.conversation_key != pair.conversation_key]
        return reward_instructions(None, others[: self.k])

    def of_context(self, context: Sequence[PreferencePair]) -> str:
        """k of the context pairs, whatever order they come in."""
        return reward_instructions(None, sorted(context, key=self._order)[: self.k])

    def _order(self, pair: PreferencePair) -> bytes:
        return hashlib.sha256(f"{self.seed} {pair.hash}".encode()).digest()


def turns_told(
    prompts: str | None,
    *,
    demonstrations: bool = False,
    n_shown: int | None = None,
    pairs: Sequence[PreferencePair] = (),
) -> UserTurns | None:
    """What the command line asks to be told of users; None for nothing.

    Args:
        prompts: A file of prepared prompts.
        demonstrations: Whether the prompts' demonstrations are told too.
        n_shown: Tell so many raw pairs of each user instead.
        pairs: What is trained on, for those.

    Raises:
        BadInput: If the options do not go together, or the file cannot be read.
    """
    if demonstrations and prompts is None:
        raise BadInput("--demonstrations are those of a file of prompts and none was named; pass --prompts too")
    if prompts is not None and n_shown is not None:
        raise BadInput("--prompts and --history both say what to tell of users; pass one of them")
    if n_shown is not None:
        return RawHistory(pairs, k=n_shown)
    if prompts is None:
        return None
    saved = read_prepared(prompts)
    users = {pair.user_id for pair in pairs}
    if users and not users & ({*saved.whole} | {user_id for user_id, _ in saved.cross_fitted}):
        raise BadInput(f"{prompts!r} holds prompts of none of the {len(users):,} users; pass those of these people")
    return SavedPrompts(saved, "persona_demonstrations" if demonstrations else "persona")
