"""The same thing run several times: the mean with the interval that the runs themselves give.

This is the paper's interval of Table 5. It says how much a result moves with the seed and
nothing of how much it would move with other users; `bootstrap.py` says that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput, NoScoredPairs


@dataclass(frozen=True)
class RunMean:
    """Mean over runs and half the width of its 95 % interval."""

    mean: float
    half_width: float
    """Student's t with runs - 1 degrees of freedom; NaN for a single run."""
    n_runs: int


def run_mean(accuracies: Sequence[float]) -> RunMean:
    """Mean of the runs, mean +- t(0.975, runs - 1) s / sqrt(runs).

    Raises:
        NoScoredPairs: If there are no runs.

    >>> run_mean([0.6, 0.7]).n_runs
    2
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if values.size == 0:
        raise NoScoredPairs("there are no runs, so there is no mean; pass at least one accuracy")
    half = float("nan")
    if values.size > 1:
        half = student_t_bound(values.size - 1) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return RunMean(float(values.mean()), half, int(values.size))


def student_t_bound(freedom: int, *, coverage: float = 0.95) -> float:
    """The t with P(|T| < t) = coverage for a whole number of degrees of freedom, by bisection.

    Raises:
        BadInput: If there is no degree of freedom, or coverage is not inside (0, 1).

    >>> round(student_t_bound(4), 3)
    2.776
    """
    if freedom < 1 or not 0.0 < coverage < 1.0:
        raise BadInput(f"freedom must be at least 1 and coverage inside (0, 1), got {freedom!r} and {coverage!r}")
    low, high = 0.0, math.pi / 2  # of the angle, where the probability climbs from 0 to 1
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < coverage else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def stars(p: float) -> str:
    """Significance as tables print it: `*` below 0.05, `**` below 0.01, `***` below 0.001.

    >>> stars(0.03), stars(0.2)
    ('*', '')
    """
    return "*" * sum(p < bound for bound in (0.05, 0.01, 0.001))


def _within(angle: float, freedom: int) -> float:
    """P(|T| < sqrt(freedom) tan(angle)), a finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for step in range(1 + is_odd, freedom, 2):
        total += term
        term *= cosine**2 * step / (step + 1)
    return (2 / math.pi) * (angle + sine * total) if is_odd else sine * total
