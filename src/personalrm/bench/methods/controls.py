"""Rows that know nobody and read next to nothing: what every other row is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personalrm.bench.methods.method import Item, Judgement, Knowledge, Surveys
from personalrm.datasets.targets import HeldOut
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User


class Control:
    """A rule on the pair alone.

    Args:
        rule: What it says of a pair.
    """

    def __init__(self, rule: Callable[[PreferencePair], Judgement]) -> None:
        self._rule = rule

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Nothing."""

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """Nothing of anybody."""
        return [Knowledge(user.user_id) for user in users]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """The rule on every pair."""
        return [self._rule(pair) for _, pair in items]


def coin(_: PreferencePair) -> Judgement:
    """A fair coin, in expectation: every pair is a tie and counts a half."""
    return Judgement(margin=0.0)


def first_wins(_: PreferencePair) -> Judgement:
    """The completion shown first wins, whichever it is."""
    return Judgement(chosen_first=1.0, chosen_second=0.0)


def longer_wins(pair: PreferencePair) -> Judgement:
    """The completion with more characters wins; equal lengths are a tie."""
    return Judgement(margin=float(len(pair.chosen) - len(pair.rejected)))
