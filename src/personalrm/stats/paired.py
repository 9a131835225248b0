"""Two methods on the same pairs: is the difference more than luck with these users?

The unit is the user throughout: the interval resamples users, the test flips the sign
of whole users. McNemar's test treats pairs as independent and is reported only as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import CHUNK, cluster, clustered_mean
from personalrm.wording import count

EXACT_USERS = 12
"""Up to so many users with a difference, all 2^n sign patterns are tried."""


@dataclass(frozen=True)
class Comparison:
    """Accuracy of method a minus accuracy of method b on the same pairs, as fractions."""

    difference: float
    """Mean over pairs (micro)."""
    low: float
    """Lower end of its 95 % interval; NaN when there is only one user."""
    high: float
    """Upper end of its 95 % interval; NaN when there is only one user."""
    macro_difference: float
    """Mean over users of each user's difference."""
    macro_low: float
    macro_high: float
    p: float
    """User-level sign-flip permutation test of `difference`, two-sided."""
    macro_p: float
    """The same test of `macro_difference`."""
    mcnemar_p: float
    """Exact McNemar test over pairs; ignores clustering, so usually too small."""
    n_pairs: int
    n_users: int
    n_better: int
    """Pairs on which a scores more than b."""
    n_worse: int
    """Pairs on which a scores less than b."""

    def line(self) -> str:
        """The comparison in one line, in percentage points."""
        interval = f"[{points(self.low)}, {points(self.high)}]" if self.n_users > 1 else "[no interval: one user]"
        return (
            f"{points(self.difference)} points {interval}, p = {self.p:.3g}, macro {points(self.macro_difference)}, "
            f"{count(self.n_users, 'user')}, {count(self.n_pairs, 'pair')}, "
            f"McNemar p = {self.mcnemar_p:.3g} (ignores clustering)"
        )

    def __str__(self) -> str:
        return self.line()


def compare(
    correct_a: FloatArray,
    correct_b: FloatArray,
    user_ids: Sequence[str],
    *,
    n_resamples: int = 10_000,
    n_flips: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """How much more often a is right than b, with a user-clustered interval and test.

    Args:
        correct_a: Shape `(pairs,)`, what `correctness` gave for method a.
        correct_b: Shape `(pairs,)`, the same pairs in the same order for method b.
        user_ids: Shape `(pairs,)`, the owner of each pair.
        n_resamples: Resamples of the users for the interval.
        n_flips: Random sign patterns when there are too many users to try all.
        seed: Resamples and sign patterns are the same for the same seed.

    Raises:
        NoScoredPairs: If there are no pairs.
        BadInput: If the shapes differ or a value lies outside [0, 1].
    """
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    if a.shape != b.shape:
        raise BadInput(f"both methods must be scored on the same pairs, got shapes {a.shape!r} and {b.shape!r}")
    if a.size == 0:
        raise NoScoredPairs("there are no pairs to compare on; pass at least one pair")
    for name, values in (("correct_a", a), ("correct_b", b)):
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise BadInput(f"{name} holds values outside [0, 1]; pass what correctness() returns, not margins")
    difference = a - b
    clusters = cluster(difference, user_ids)
    mean = clustered_mean(clusters, n_resamples=n_resamples, seed=seed)
    n_better, n_worse = int((difference > 0).sum()), int((difference < 0).sum())
    return Comparison(
        difference=mean.micro,
        low=mean.micro_interval.low,
        high=mean.micro_interval.high,
        macro_difference=mean.macro,
        macro_low=mean.macro_interval.low,
        macro_high=mean.macro_interval.high,
        p=sign_flip_p(clusters.sums, n_flips=n_flips, seed=seed),
        macro_p=sign_flip_p(clusters.means, n_flips=n_flips, seed=seed),
        mcnemar_p=mcnemar_p(n_better, n_worse),
        n_pairs=len(difference),
        n_users=mean.n_users,
        n_better=n_better,
        n_worse=n_worse,
    )


def sign_flip_p(differences: FloatArray, *, n_flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the sum of the users' differences under random signs.

    With at most `EXACT_USERS` nonzero differences every sign pattern is tried; else
    `n_flips` random ones, counting the observed one too, so p is never zero.

    Args:
        differences: Shape `(users,)`, one number a user; zeros change nothing.
        n_flips: Random sign patterns.
        seed: The same seed and differences give the same p.

    >>> sign_flip_p(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    nonzero = differences[differences != 0]
    n = len(nonzero)
    # Sums of the same numbers in another order may differ in the last bits; those are ties.
    bound = abs(float(nonzero.sum())) - 1e-12 * float(np.abs(nonzero).sum())
    if n <= EXACT_USERS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)  # (2^n, users)
        return float((np.abs(signs @ nonzero) >= bound).mean())
    rng = np.random.default_rng(seed)
    n_extreme, step = 1, max(1, CHUNK // n)
    for start in range(0, n_flips, step):
        flips = rng.integers(0, 2, size=(min(step, n_flips - start), n), dtype=np.int8)
        n_extreme += int((np.abs((1.0 - 2.0 * flips) @ nonzero) >= bound).sum())
    return n_extreme / (n_flips + 1)


def mcnemar_p(n_better: int, n_worse: int) -> float:
    """Exact two-sided McNemar test: a fair coin decides each discordant pair; ignores clustering.

    >>> mcnemar_p(5, 0)
    0.0625
    """
    n = n_better + n_worse
    ways, tail = 1, 0  # ways = n choose k, exact
    for k in range(min(n_better, n_worse) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, float(2 * tail / 2**n))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm-adjusted p-values, in the order given: family-wise error over a table of tests.

    Raises:
        BadInput: If a value is not a probability.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    for p in p_values:
        if math.isnan(p) or not 0.0 <= p <= 1.0:
            raise BadInput(f"a p-value lies in [0, 1], got {p!r}; leave out tests that were not made")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return tuple(adjusted)


def points(fraction: float) -> str:
    """Percentage points with sign and one decimal."""
    return f"{100.0 * fraction:+.1f}"
