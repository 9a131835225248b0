"""How accuracy changes with the number of context pairs: a line through the means, users resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import Interval, middle_interval, resampled_users


@dataclass(frozen=True)
class Slope:
    """Change of a mean per unit of x, with its user-clustered interval."""

    slope: float
    low: float
    """Lower end of the 95 % interval; NaN when there is only one user."""
    high: float
    """Upper end of the 95 % interval; NaN when there is only one user."""
    n_users: int
    n_points: int


def clustered_slope(
    x: FloatArray, sums: FloatArray, counts: FloatArray, *, n_resamples: int = 10_000, seed: int = 0
) -> Slope:
    """Least-squares slope through the means at each x, with a percentile interval over users.

    A user who has no pairs at some x (too few context pairs) has count 0 there. One resample
    draws users with all their points, so the points of one user stay together (paper 6.1).
    A resample in which fewer than two points keep a user says nothing of the slope and is left out.

    Args:
        x: Shape `(points,)`, at least two different values.
        sums: Shape `(users, points)`, sum of correctness of a user's pairs at x.
        counts: Shape `(users, points)`, number of those pairs.
        n_resamples: How many times the users are drawn.
        seed: The same seed and values give the same interval.

    Raises:
        BadInput: If shapes differ, x has fewer than two values, or a point has no pairs.

    >>> clustered_slope(np.array([1.0, 3.0]), np.array([[1.0, 3.0], [2.0, 2.0]]), np.full((2, 2), 4.0)).slope
    0.125
    """
    x = np.asarray(x, dtype=np.float64)
    if sums.shape != counts.shape or sums.ndim != 2 or sums.shape[1] != len(x):
        raise BadInput(f"sums and counts need shape (users, {len(x)}), got {sums.shape!r} and {counts.shape!r}")
    if len(set(x.tolist())) < 2:
        raise BadInput(f"a slope needs two different x, got {x.tolist()!r}; measure at another number of pairs")
    if not (counts.sum(axis=0) > 0).all():
        raise BadInput("a point of the slope has no pairs; leave it out")
    total = np.concatenate([sums.sum(axis=0), counts.sum(axis=0)])[None, :]  # (1, 2 points)
    slope = float(_slopes(x, total)[0])
    interval = Interval(float("nan"), float("nan"))
    if len(sums) > 1:
        drawn = _slopes(x, resampled_users(np.concatenate([sums, counts], axis=1), n_resamples, seed))
        interval = middle_interval(drawn[~np.isnan(drawn)])
    return Slope(slope, interval.low, interval.high, len(sums), len(x))


def _slopes(x: FloatArray, totals: FloatArray) -> FloatArray:
    """Slope of each row of totals, `(rows, 2 points)`: sums, then counts; points without pairs are left out."""
    sums, counts = totals[:, : len(x)], totals[:, len(x) :]
    there = (counts > 0).astype(np.float64)
    y = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    n = there.sum(axis=1)
    mean_x = (there * x).sum(axis=1) / n  # n >= 1: some user was drawn, and everybody has a point
    mean_y = (there * y).sum(axis=1) / n
    spread = there * (x - mean_x[:, None])
    square = (spread**2).sum(axis=1)
    along = (spread * (y - mean_y[:, None])).sum(axis=1)
    return np.asarray(np.divide(along, square, out=np.full(len(totals), np.nan), where=square > 0))
