"""Intervals by resampling users.

One user's pairs are not independent, so users are drawn with replacement, each with
all their pairs. Everything is reduced to one sum and one count a user first: a
resample is then a row of counts times a small matrix, whatever the number of pairs.
Also the paper's own interval over single judgements, for comparison with its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.arrays import FloatArray, IntArray

CHUNK = 1 << 20
"""Numbers drawn at a time, about 8 MB; part of the result, since it orders the random stream."""
MOST_KEPT = 1 << 23
"""Numbers drawn that are kept for the next mean, 16 MB; a user cannot be drawn so often that 16 bits overflow."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval; both ends NaN where one user says nothing about others."""

    low: float
    high: float


@dataclass(frozen=True)
class ClusteredMean:
    """Mean over pairs (micro) and over users (macro), each with its interval."""

    micro: float
    micro_interval: Interval
    macro: float
    macro_interval: Interval
    n_users: int


@dataclass(frozen=True, eq=False, repr=False)
class Clusters:
    """Values reduced to one row a user, users in the order of their ids."""

    sums: FloatArray
    """Shape `(users,)`."""
    counts: FloatArray
    """Shape `(users,)`, at least 1."""

    @property
    def means(self) -> FloatArray:
        """Shape `(users,)`."""
        return self.sums / self.counts


def cluster(values: FloatArray, user_ids: Sequence[str]) -> Clusters:
    """Sum and count of each user's values; the order of the rows does not matter.

    Args:
        values: Shape `(pairs,)`, no NaN.
        user_ids: Shape `(pairs,)`, the owner of each.

    Raises:
        NoScoredPairs: If there are no values.
        BadInput: If the lengths differ.
    """
    if np.ndim(values) != 1 or len(values) != len(user_ids):
        raise BadInput(f"every value needs one user, got shape {np.shape(values)!r} and {len(user_ids)} user ids")
    if len(values) == 0:
        raise NoScoredPairs("there are no pairs, so there is no mean; pass at least one pair")
    # Not np.unique: its fixed-width strings drop a trailing NUL and cost the longest id's width a row.
    places = {user: place for place, user in enumerate(sorted(set(user_ids)))}
    rows = np.array([places[user] for user in user_ids])  # (pairs,)
    sums = np.asarray(np.bincount(rows, weights=values), dtype=np.float64)  # (users,)
    return Clusters(sums, np.bincount(rows).astype(np.float64))


def clustered_mean(clusters: Clusters, *, n_resamples: int = 10_000, seed: int = 0) -> ClusteredMean:
    """Micro and macro mean with percentile intervals from the same resamples of users.

    Args:
        clusters: What `cluster` returned.
        n_resamples: How many times the users are drawn.
        seed: The same seed and values give the same interval.
    """
    n_users = len(clusters.sums)
    micro = float(clusters.sums.sum() / clusters.counts.sum())
    macro = float(clusters.means.mean())
    if n_users == 1:
        unknown = Interval(float("nan"), float("nan"))
        return ClusteredMean(micro, unknown, macro, unknown, 1)
    columns = np.stack([clusters.sums, clusters.counts, clusters.means], axis=1)  # (users, 3)
    totals = resampled_users(columns, n_resamples, seed)  # (resamples, 3)
    return ClusteredMean(
        micro, middle_interval(totals[:, 0] / totals[:, 1]), macro, middle_interval(totals[:, 2] / n_users), n_users
    )


def paper_interval(correct: FloatArray, *, n_resamples: int = 10_000, seed: int = 0) -> Interval:
    """The paper's interval: basic bootstrap over single judgements, clusters ignored.

    Too narrow when users have many pairs; printed only beside the paper's table. Drawing
    n rows with replacement is drawing the counts of the distinct values, which is what is done.

    Args:
        correct: Shape `(judgements,)`, 1, 0.5 or 0 each.
        n_resamples: How many times the judgements are drawn.
        seed: The same seed and values give the same interval.

    Raises:
        NoScoredPairs: If there are no judgements.
    """
    n = len(correct)
    if n == 0:
        raise NoScoredPairs("there are no judgements, so there is no interval; pass at least one")
    values, counts = np.unique(correct, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=n_resamples)  # (resamples, distinct)
    around = middle_interval(drawn @ values / n)
    mean = float(np.mean(correct))
    return Interval(2.0 * mean - around.high, 2.0 * mean - around.low)


def resampled_users(columns: FloatArray, n_resamples: int, seed: int) -> FloatArray:
    """Column totals of each resample of the rows, shape `(resamples, columns)`, in chunks of bounded memory."""
    if n_resamples < 1:
        raise BadInput(f"n_resamples must be at least 1, got {n_resamples!r}; 10000 is usual")
    n_users, n_columns = columns.shape
    totals = np.empty((n_resamples, n_columns))
    is_small = n_resamples * n_users <= MOST_KEPT
    start = 0
    for times in _kept_draws(n_users, n_resamples, seed) if is_small else _draws(n_users, n_resamples, seed):
        totals[start : start + len(times)] = times.astype(np.float64) @ columns
        start += len(times)
    return totals


def _draws(n_users: int, n_resamples: int, seed: int) -> Iterator[IntArray]:
    """How often each user is drawn in each resample, `(resamples, users)`, in chunks."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // n_users)
    for start in range(0, n_resamples, step):
        size = min(step, n_resamples - start)
        drawn = rng.integers(0, n_users, size=(size, n_users)) + n_users * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_users).reshape(size, n_users)


@lru_cache(maxsize=1)
def _kept_draws(n_users: int, n_resamples: int, seed: int) -> tuple[NDArray[np.uint16], ...]:
    """The same, kept for the next mean: the rows of a table are resampled over the same users with the same seed."""
    return tuple(times.astype(np.uint16) for times in _draws(n_users, n_resamples, seed))


def middle_interval(values: FloatArray) -> Interval:
    """The middle 95 % of resampled values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))
