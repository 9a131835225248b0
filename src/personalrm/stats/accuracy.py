"""Pairwise accuracy: how often the chosen completion wins, and how sure we are.

Decides what a tie and an unscored pair count; `orders.py` makes the margins of judges
that see both orders, `bootstrap.py` the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.errors import NoScoredPairs
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import cluster, clustered_mean
from personalrm.wording import count


@dataclass(frozen=True)
class Accuracy:
    """Pairwise accuracy as a fraction in [0, 1], with what it was computed from."""

    accuracy: float
    """Mean over pairs (micro); ties and unscored pairs count 0.5."""
    accuracy_scored: float
    """The same without the unscored pairs."""
    low: float
    """Lower end of the 95 % interval of `accuracy`; NaN when there is only one user."""
    high: float
    """Upper end of the 95 % interval of `accuracy`; NaN when there is only one user."""
    macro: float
    """Mean over users of each user's accuracy."""
    macro_low: float
    """Lower end of the 95 % interval of `macro`; NaN when there is only one user."""
    macro_high: float
    """Upper end of the 95 % interval of `macro`; NaN when there is only one user."""
    n_pairs: int
    n_users: int
    n_unscored: int
    n_ties: int
    """Scored pairs with margin exactly zero."""
    n_half_scored: int = 0
    """Scored pairs of which only one order was read; filled in by whoever judged in both orders."""

    def line(self) -> str:
        """The result in one line, in percent."""
        interval = f"[{percent(self.low)}, {percent(self.high)}]" if self.n_users > 1 else "[no interval: one user]"
        return (
            f"{percent(self.accuracy)} % {interval}, macro {percent(self.macro)} %, "
            f"{count(self.n_users, 'user')}, {count(self.n_pairs, 'pair')}, {self.n_unscored} unscored"
        )

    def __str__(self) -> str:
        return self.line()


def pairwise_accuracy(
    margins: FloatArray,
    user_ids: Sequence[str],
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Accuracy:
    """Fraction of pairs on which the chosen completion wins, with an interval.

    Users, not pairs, are resampled, so a talkative user widens the interval instead
    of narrowing it (percentile bootstrap). The order of the rows does not matter.

    Args:
        margins: Shape `(pairs,)`, reward(chosen) - reward(rejected), both orders already
            averaged. Zero and NaN (unscored) count 0.5; NaN is also counted apart, and
            `accuracy_scored` leaves it out.
        user_ids: Shape `(pairs,)`, the owner of each pair.
        n_resamples: How many times the users are drawn.
        seed: The same seed and margins give the same interval.

    Raises:
        NoScoredPairs: If there are no pairs or every margin is NaN; what was not
            measured is not 0.5.
        BadInput: If the lengths differ.

    >>> pairwise_accuracy(np.array([1.0, 2.0, -1.0, 0.0]), ["u1", "u1", "u2", "u2"]).line()
    '62.5 % [25.0, 100.0], macro 62.5 %, 2 users, 4 pairs, 0 unscored'
    """
    margins = np.asarray(margins, dtype=np.float64)
    unscored = np.isnan(margins)
    if unscored.all():
        raise NoScoredPairs(f"none of {count(margins.size, 'pair')} was scored, so there is no accuracy to report")
    return replace(
        mean_correctness(correctness(margins), user_ids, n_resamples=n_resamples, seed=seed),
        accuracy_scored=float(correctness(margins[~unscored]).mean()),
        n_unscored=int(unscored.sum()),
        n_ties=int((margins == 0).sum()),
    )


def mean_correctness(
    correct: FloatArray,
    user_ids: Sequence[str],
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Accuracy:
    """Accuracy from correctness values in [0, 1], such as means over several shuffles.

    All count as scored, those of exactly 0.5 as ties; who knows better replaces these counts.

    Args:
        correct: Shape `(pairs,)`; 0.5 for a tie or an unscored pair.
        user_ids: Shape `(pairs,)`, the owner of each pair.
        n_resamples: How many times the users are drawn.
        seed: The same seed and values give the same interval.

    Raises:
        NoScoredPairs: If there are no pairs.
    """
    mean = clustered_mean(cluster(correct, user_ids), n_resamples=n_resamples, seed=seed)
    return Accuracy(
        accuracy=mean.micro,
        accuracy_scored=mean.micro,
        low=mean.micro_interval.low,
        high=mean.micro_interval.high,
        macro=mean.macro,
        macro_low=mean.macro_interval.low,
        macro_high=mean.macro_interval.high,
        n_pairs=len(correct),
        n_users=mean.n_users,
        n_unscored=0,
        n_ties=int((correct == 0.5).sum()),
    )


def correctness(margins: FloatArray) -> FloatArray:
    """1 where the margin is positive, 0 where negative, 0.5 where zero or NaN; shape as given.

    >>> correctness(np.array([2.0, -1.0, 0.0, np.nan])).tolist()
    [1.0, 0.0, 0.5, 0.5]
    """
    margins = np.asarray(margins, dtype=np.float64)
    return np.asarray(np.where(np.isnan(margins), 0.5, 0.5 + 0.5 * np.sign(margins)))


def percent(fraction: float) -> str:
    """A fraction in percent with one decimal, without the sign.

    >>> percent(0.691)
    '69.1'
    """
    return f"{100.0 * fraction:.1f}"
