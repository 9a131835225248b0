"""The people of a search: what a persona of each is written from, and what it is scored on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from personalrm.errors import BadInput
from personalrm.induction.draws import in_balanced_order, keyed_uniform
from personalrm.induction.search.settings import SearchSettings
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import search as search_demonstrations
from personalrm.induction.synthesize import search_calls
from personalrm.induction.waves import Calls, Induction, run_together
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.splits import UserSplit, split_user
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Judge, PersonaQuestion

MOST_CHOICES = 5
"""Choices shown of an example person: they stand in front of every persona written later."""
SHORTENED = 240
"""Characters shown of each of their texts."""


@dataclass(frozen=True, repr=False)
class Subject:
    """One user of a search."""

    user_id: str
    evidence: tuple[Demonstration, ...]
    """Choices, with reasonings where they reached the choice, from which personas are written (step 1 of a fit)."""
    scored: tuple[PreferencePair, ...]
    """Pairs the persona is scored on: targets of a dev user, validation pairs of a train user."""

    @property
    def question(self) -> PersonaQuestion:
        """What is asked of whoever writes the persona."""
        return PersonaQuestion(self.user_id, self.evidence)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Hashes of everything the search sees of this user."""
        seen = [demonstration.shown.pair for demonstration in self.evidence]
        return tuple(pair.hash for pair in (*seen, *self.scored))

    def __repr__(self) -> str:
        return f"Subject(user_id={self.user_id!r}, evidence={len(self.evidence)}, scored={len(self.scored)})"


@dataclass(frozen=True, repr=False)
class People:
    """Train and dev users with their pairs divided; nothing was asked yet."""

    train: tuple[tuple[str, UserSplit], ...]
    dev: tuple[tuple[str, UserSplit], ...]
    n_left_out: int
    """Users without a pair to score personas on."""


def divide(train: Iterable[User], dev: Iterable[User], *, max_train_users: int, seed: int) -> People:
    """Who takes part: dev users with a target pair, and train users with a validation pair, a draw of them if many.

    Raises:
        BadInput: If a user is in both parts, or no dev user can be scored.
    """
    train, dev = list(train), list(dev)
    both = {user.user_id for user in train} & {user.user_id for user in dev}
    if both:
        raise BadInput(f"user {min(both)!r} is both a train and a dev user ({len(both)} are); leave one of them out")
    trained = [(user.user_id, split_user(user.pairs)) for user in train if user.pairs]
    scored = [(user.user_id, split_user(user.pairs)) for user in dev if user.pairs]
    kept = [(user_id, split) for user_id, split in trained if split.train and split.validation]
    useful = [(user_id, split) for user_id, split in scored if split.train and split.target]
    if not useful:
        raise BadInput(
            f"none of {len(dev)} dev users has pairs to learn from and a target pair; add users or conversations"
        )
    drawn = sorted(kept, key=lambda user: keyed_uniform("train user", seed, user[0]))[:max_train_users]
    return People(tuple(drawn), tuple(useful), len(train) + len(dev) - len(kept) - len(useful))


def share_out(users: Sequence[User], dev_share: float, seed: int) -> tuple[list[User], list[User]]:
    """Train and dev users of one file, drawn by a hash of their ids.

    Raises:
        BadInput: If the share is not between 0 and 1.
    """
    if not 0.0 < dev_share < 1.0:
        raise BadInput(f"the dev share must lie between 0 and 1, got {dev_share!r}")
    ranked = sorted(users, key=lambda user: keyed_uniform("dev user", seed, user.user_id))
    n_dev = max(1, round(dev_share * len(ranked))) if ranked else 0
    chosen = {user.user_id for user in ranked[:n_dev]}
    return [user for user in users if user.user_id not in chosen], [user for user in users if user.user_id in chosen]


def gather(
    people: Sequence[tuple[str, UserSplit]], judge: Judge, settings: SearchSettings, *, on_target: bool
) -> list[Subject]:
    """The subjects, each with the reasonings of step 1 of a fit; they do not depend on the persona prompt.

    Args:
        people: Users and their splits.
        judge: Who reasons.
        settings: Of the search; its `user_trials` and seed are those of step 1.
        on_target: Whether they are scored on targets (dev users) or on validation pairs (train users).
    """
    step_one = _step_one(settings)

    def collect(user_id: str, split: UserSplit) -> Induction:
        """Step 1 of a fit (paper section 3), its demonstrations as a personal prompt without a persona."""
        train = in_balanced_order(split.train, settings.seed)
        validation = in_balanced_order(split.validation, settings.seed)
        kept = yield from search_demonstrations(train, validation, None, step_one)
        if not any(demonstration.has_reasoning for demonstration in kept):
            kept = tuple(Demonstration(ordered) for ordered in train)
        return PersonalPrompt(user_id, Persona(), kept)

    prompts = run_together([collect(user_id, split) for user_id, split in people], judge)
    return [
        Subject(user_id, prompt.demonstrations, split.target if on_target else split.validation)
        for (user_id, split), prompt in zip(people, prompts, strict=True)
    ]


def gather_calls(split: UserSplit, settings: SearchSettings) -> Calls:
    """What `gather` asks of one user at most."""
    return search_calls(split, _step_one(settings))


def _step_one(settings: SearchSettings) -> InductionSettings:
    return InductionSettings(variant="persona", n_trials=settings.user_trials, seed=settings.seed)


def in_words(demonstrations: Sequence[Demonstration], n_characters: int = SHORTENED) -> str:
    """Choices in short plain text, as an example person's stand in a persona prompt."""
    shown = [demonstration for demonstration in demonstrations if demonstration.has_reasoning] or list(demonstrations)
    lines = []
    for n, demonstration in enumerate(shown[:MOST_CHOICES], 1):
        pair, reasoning = demonstration.shown.pair, demonstration.reasoning
        asked = next((turn.content for turn in reversed(pair.conversation) if turn.role == "user"), "")
        texts = [_short(text, n_characters) for text in (asked, pair.chosen, pair.rejected)]
        why = f" Why: {_short(reasoning, n_characters)}" if reasoning else ""
        lines.append(f"{n}. Asked: {texts[0]} Chose: {texts[1]} Not: {texts[2]}{why}")
    return "\n".join(lines)


def _short(text: str, n_characters: int) -> str:
    whole = " ".join(text.split())
    # A single word that is too long would be cut to nothing by textwrap alone.
    return (
        textwrap.shorten(whole, n_characters, placeholder=" ...")
        if " " in whole[:n_characters]
        else whole[:n_characters]
    )
