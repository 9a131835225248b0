"""Asking the most telling pairs first: how accuracy grows with answers, against a random order.

Every user has a pool of pairs whose answers are known. One strategy asks the pair of the
most expected information, learns the answer and goes on; the other asks in random order.
After each answer the weights are fitted anew and scored on pairs outside the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.accuracy import correctness
from personalrm.stats.arrays import FloatArray, IntArray
from personalrm.stats.bootstrap import Interval
from personalrm.stylometry.information import choose_informative
from personalrm.stylometry.observations import Choices
from personalrm.stylometry.population import Prior
from personalrm.stylometry.weights import Weights, fit_weights

N_RESAMPLES = 2_000


@dataclass(frozen=True, repr=False)
class Pool:
    """One user: pairs that may be asked, pairs that are scored, and what is believed before."""

    user_id: str
    pool: FloatArray
    """Shape `(pairs, features)`, x(chosen) - x(rejected), unscaled."""
    targets: FloatArray
    """Shape `(targets, features)`, the same of the pairs that are scored."""
    prior: Prior


@dataclass(frozen=True, repr=False)
class Growth:
    """Correct targets of every user after each number of answers, under both strategies."""

    n_answers: IntArray
    """Shape `(steps,)`: 0, 1, 2, ..."""
    active: FloatArray
    """Shape `(users, steps)`, share of the user's targets that is right."""
    random: FloatArray
    """Shape `(users, steps)`, the same, mean of several random orders."""

    def difference(self, step: int, *, seed: int = 0) -> tuple[float, Interval]:
        """Active minus random after so many answers, mean over users, with an interval over users."""
        gaps = self.active[:, step] - self.random[:, step]
        return float(gaps.mean()), _interval(_resampled(gaps[:, None], seed)[:, 0])

    def answers_needed(self, step: int, *, seed: int = 0) -> tuple[float, Interval]:
        """Answers after which the active order is as accurate as the random one after `step`, with an interval.

        Linear between whole numbers; as many as there are where it never gets there.
        """
        both = np.hstack([self.active, self.random[:, step : step + 1]])
        drawn = _resampled(both, seed)
        needed = np.array([_first_at_least(one[:-1], one[-1]) for one in drawn])
        mean = both.mean(axis=0)
        return _first_at_least(mean[:-1], mean[-1]), _interval(needed)


def grow(users: Sequence[Pool], n_answers: int, *, n_random: int = 5, seed: int = 0) -> Growth:
    """Both strategies on users whose pools hold at least `n_answers` pairs.

    Args:
        users: Users with too small a pool are left out.
        n_answers: Most answers of each.
        n_random: Random orders, averaged.
        seed: Of the random orders, and of the sides: a pair is shown either way round, its answer never seen before.

    Raises:
        BadInput: If no user has such a pool.
    """
    able = [user for user in users if len(user.pool) >= n_answers and len(user.targets)]
    if not able:
        raise BadInput(f"no user has a pool of {n_answers} pairs and a target; ask fewer questions")
    rng = np.random.default_rng(seed)
    orders = [[rng.permutation(len(user.pool))[:n_answers] for user in able] for _ in range(n_random)]
    random = np.mean([_follow(able, order) for order in orders], axis=0)
    return Growth(np.arange(n_answers + 1), _ask(able, n_answers), random)


def _ask(users: Sequence[Pool], n_answers: int) -> FloatArray:
    asked: list[list[int]] = [[] for _ in users]
    right = [_score(users, weights := _fit(users, asked))]
    for _ in range(n_answers):
        for place, (user, one) in enumerate(zip(users, weights, strict=True)):
            left = np.setdiff1d(np.arange(len(user.pool)), asked[place])
            asked[place].append(int(left[choose_informative(one, user.pool[left], 1)[0].place]))
        right.append(_score(users, weights := _fit(users, asked)))
    return np.array(right).T


def _follow(users: Sequence[Pool], orders: Sequence[IntArray]) -> FloatArray:
    n_answers = len(orders[0])
    return np.array([_score(users, _fit(users, [order[:n] for order in orders])) for n in range(n_answers + 1)]).T


def _fit(users: Sequence[Pool], asked: Sequence[Sequence[int] | IntArray]) -> list[Weights]:
    choices = [
        Choices(user.pool[np.asarray(places, dtype=np.int64)], np.arange(len(places)))
        for user, places in zip(users, asked, strict=True)
    ]
    return fit_weights(choices, [user.prior for user in users])


def _score(users: Sequence[Pool], weights: Sequence[Weights]) -> FloatArray:
    """Share of right targets, shape `(users,)`."""
    return np.array([correctness(one.margin(user.targets)).mean() for user, one in zip(users, weights, strict=True)])


def _resampled(values: FloatArray, seed: int) -> FloatArray:
    """Column means of resampled users, shape `(resamples, columns)`."""
    rng = np.random.default_rng(seed)
    return np.array([values[rng.integers(0, len(values), len(values))].mean(axis=0) for _ in range(N_RESAMPLES)])


def _interval(values: FloatArray) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def _first_at_least(curve: FloatArray, level: float) -> float:
    """Where a curve first reaches a level, linear between its points."""
    above = np.flatnonzero(curve >= level)
    if not len(above):
        return float(len(curve) - 1)
    place = int(above[0])
    if place == 0:
        return 0.0
    return float(place - (curve[place] - level) / (curve[place] - curve[place - 1]))
