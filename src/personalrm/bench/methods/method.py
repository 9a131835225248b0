"""What a row of the benchmark is: a method that learns, knows its users, and judges pairs; and how it is asked.

Judges, the embedded engine, controls and trained reward models all answer this one
protocol, so the runner, the shuffled-user control, curves and transfer are written once. Targets are judged here
alone, with each user's own knowledge or with somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.surveys import Survey
from personalrm.preferences.users import User
from personalrm.stats.derangements import derangements

Surveys = Mapping[str, Survey]
"""Survey of each user who filled one in, by user id."""
N_DERANGEMENTS = 20
"""Derangements the shuffled-user control is the mean of, where judging is free."""


@dataclass(frozen=True, repr=False)
class Knowledge:
    """What a method knows of one user; handed to somebody else it is the shuffled-user control."""

    user_id: str
    """Who it was learned from."""
    value: Any = None
    """A personal prompt, weights, the state of a reward model...; only its method looks inside."""
    note: str = ""
    """Why there is less of it than there should be, in a sentence; empty when all went well."""

    def __repr__(self) -> str:
        return f"Knowledge(user_id={self.user_id!r}, value={type(self.value).__name__})"


@dataclass(frozen=True, repr=False)
class Judgement:
    """What a method says of one pair: a probability an order, or one margin; nothing where it could not tell."""

    chosen_first: float | None = None
    """P(chosen preferred) in [0, 1], read where the chosen completion stood first; None where unscored."""
    chosen_second: float | None = None
    """P(chosen preferred) in [0, 1], read where it stood second; high is right in both orders."""
    margin: float | None = None
    """reward(chosen) - reward(rejected) of a method that needs no order."""
    unscored: str = ""
    """Why one order or the whole pair is unscored."""
    reasoning: str = ""

    def __repr__(self) -> str:
        return f"Judgement({self.chosen_first!r}, {self.chosen_second!r}, margin={self.margin!r})"


Item = tuple[Knowledge, PreferencePair]
"""A pair to be judged and by whose taste."""


class Method(Protocol):
    """One row of the table.

    The same pairs, seed and answers give the same judgements, in whatever company a pair
    is judged. A method never raises for one bad item: that judgement is unscored.
    """

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Learn once what is not of one user: a population, a trained model. Targets are never read."""
        ...

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """What is known of each user from their context pairs, in order; a user may have none.

        All users are handed in at once, so that calls of a model overlap.
        """
        ...

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """A judgement an item, in order; both orders where order matters."""
        ...


def judge_targets(method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair]) -> list[Judgement]:
    """A judgement of each target pair by what is known of its owner."""
    of_user = {knowledge.user_id: knowledge for knowledge in known}
    return method.judge([(of_user[pair.user_id], pair) for pair in targets])


def sample_of(targets: Sequence[PreferencePair], n: int) -> list[PreferencePair]:
    """The n targets with the smallest hashes, the same ones for every judge and in every run."""
    return sorted(targets, key=lambda pair: pair.hash)[:n]


def judge_identical(method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair]) -> list[Judgement]:
    """The A/A test: each target with its chosen completion in both places, by what is known of its owner.

    Raises:
        BadInput: If the method asks no language model; a margin of equals is zero and says nothing.
    """
    ask = getattr(method, "judge_identical", None)
    if ask is None:
        raise BadInput("the control 'identical' is for rows that ask a language model; leave it out for this method")
    of_user = {knowledge.user_id: knowledge for knowledge in known}
    judged: list[Judgement] = ask([(of_user[pair.user_id], pair) for pair in targets])
    return judged


def judge_shuffled(
    method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair], n_draws: int, *, seed: int
) -> list[list[Judgement]]:
    """The shuffled-user control: judgements by what is known of somebody else, one list a derangement.

    Args:
        method: The row.
        known: What it knows of everybody, at least two users.
        targets: The pairs to judge.
        n_draws: Number of derangements; all are judged at once.
        seed: Of the derangements.

    Raises:
        BadInput: If there is only one user.
    """
    place_of = {knowledge.user_id: place for place, knowledge in enumerate(known)}
    owners = [place_of[pair.user_id] for pair in targets]
    draws = derangements(len(known), n_draws, seed=seed)
    items = [(known[shuffle[owner]], pair) for shuffle in draws for owner, pair in zip(owners, targets, strict=True)]
    judged: Iterator[Judgement] = iter(method.judge(items))
    return [list(islice(judged, len(targets))) for _ in draws]
