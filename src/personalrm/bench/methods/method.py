"""What a row of the benchmark is: a method that learns, knows its users, and judges pairs.

Judges, the embedded engine, controls and trained reward models all answer this one
protocol, so the runner, the shuffled-user control, curves and transfer are written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from personalrm.datasets.targets import HeldOut
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.surveys import Survey
from personalrm.preferences.users import User
from personalrm.stats.accuracy import correctness
from personalrm.stats.arrays import FloatArray
from personalrm.stats.orders import OrderedOutcome, combine_orders

Surveys = Mapping[str, Survey]
"""Survey of each user who filled one in, by user id."""
DIGITS = 12
"""Probabilities are compared at so many digits: 1 - (1 - p) differs from p in the last one, and a tie must stay one."""


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


def outcome_of(judgements: Sequence[Judgement]) -> OrderedOutcome:
    """The judgements as margins, with what both orders say of each other.

    A margin of a scalar model stands for both orders at once: it is never half scored and
    its orders always agree.
    """
    if any(one.margin is not None for one in judgements):
        return _scalar(np.array([np.nan if one.margin is None else one.margin for one in judgements]))
    first = _chances([one.chosen_first for one in judgements])
    second = _chances([None if one.chosen_second is None else 1.0 - one.chosen_second for one in judgements])
    return combine_orders(first, second)


def _scalar(margins: FloatArray) -> OrderedOutcome:
    correct = correctness(margins)
    return OrderedOutcome(
        margins=margins,
        half_scored=np.zeros(len(margins), dtype=bool),
        unscored=np.isnan(margins),
        position_consistency=1.0,
        first_share=0.5,
        single_orders=np.concatenate([correct, correct]),
        accuracy_orders=float(correct.mean()),
    )


def _chances(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else round(value, DIGITS) for value in values], dtype=np.float64)
