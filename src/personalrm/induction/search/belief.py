"""What is believed of every candidate after some measurements: a small Bayesian linear model.

A value is measured for a cell (instruction i, example set j) on a dev user u:

    y = m + a_i + b_j + c_ij + d_u + noise

with independent normal effects. Instructions and sets are thus learned about together,
whatever they were combined with, c_ij leaves room for combinations that are better or
worse than their parts, and d_u takes out that some users are easier than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalrm.stats.arrays import FloatArray, IntArray

LEAST_VARIANCE = 1e-4
"""Of a measurement, when all values so far are equal."""
SHARES = (0.02, 0.08, 0.3)
"""Spreads of a_i and b_j that are weighed against each other, as shares of a measurement's variance."""
OF_COMBINATIONS = 0.5
"""Variance of c_ij relative to that of a_i; half, so that parts are believed before combinations."""
OF_USERS = 1.0
"""Variance of d_u relative to that of a measurement."""


@dataclass(frozen=True)
class Measurements:
    """Values so far, one row a measurement; all arrays have shape `(measurements,)`."""

    instruction: IntArray
    examples: IntArray
    user: IntArray
    value: FloatArray


@dataclass(frozen=True)
class Belief:
    """A normal distribution over the effects (a, b, c, d, m), from which the values of all cells follow."""

    shape: tuple[int, int]
    """Instructions, example sets."""
    mean: FloatArray
    """Shape `(effects,)`."""
    lower: FloatArray
    """Cholesky root of the precision, shape `(effects, effects)`."""

    def draw(self, generator: np.random.Generator) -> FloatArray:
        """One plausible table of values, shape `(instructions, sets)` (Thompson sampling)."""
        z = generator.standard_normal(len(self.mean))
        return self._table(self.mean + np.linalg.solve(self.lower.T, z))

    @property
    def expected(self) -> FloatArray:
        """Expected values, shape `(instructions, sets)`."""
        return self._table(self.mean)

    def _table(self, effects: FloatArray) -> FloatArray:
        n_a, n_b = self.shape
        a, b, c = np.split(effects[: n_a + n_b + n_a * n_b], [n_a, n_a + n_b])
        return np.asarray(effects[-1] + a[:, None] + b[None, :] + c.reshape(self.shape), dtype=np.float64)


def believe(measured: Measurements, n_instructions: int, n_sets: int, n_users: int) -> Belief:
    """The posterior; the spread of the effects is the likeliest of `SHARES`.

    Args:
        measured: At least one measurement.
        n_instructions: Number of a_i.
        n_sets: Number of b_j.
        n_users: Number of d_u.
    """
    shape = (n_instructions, n_sets)
    noise = max(LEAST_VARIANCE, float(np.var(measured.value)))
    x = _design(measured, shape, n_users)  # (measurements, effects)
    gram, target = x.T @ x / noise, x.T @ measured.value / noise
    fits = []
    for share in SHARES:
        variance = _prior(shape, n_users, noise, share)
        lower = np.linalg.cholesky(gram + np.diag(1.0 / variance))
        half = np.linalg.solve(lower, target)
        evidence = 0.5 * float(half @ half - np.log(variance).sum()) - float(np.log(np.diag(lower)).sum())
        fits.append(
            (evidence, Belief(shape, np.asarray(np.linalg.solve(lower.T, half)), np.asarray(lower, dtype=np.float64)))
        )
    return max(fits, key=lambda fit: fit[0])[1]


def _design(measured: Measurements, shape: tuple[int, int], n_users: int) -> FloatArray:
    """Which effects each measurement has: a, b, c, d, m."""
    rows, (n_a, n_b) = np.arange(len(measured.value)), shape
    x = np.zeros((len(rows), n_a + n_b + n_a * n_b + n_users + 1))
    x[rows, measured.instruction] = 1.0
    x[rows, n_a + measured.examples] = 1.0
    x[rows, n_a + n_b + measured.instruction * n_b + measured.examples] = 1.0
    x[rows, n_a + n_b + n_a * n_b + measured.user] = 1.0
    x[:, -1] = 1.0
    return x


def _prior(shape: tuple[int, int], n_users: int, noise: float, share: float) -> FloatArray:
    """Variances of the effects, shape `(effects,)`."""
    n_a, n_b = shape
    parts = np.full(n_a + n_b, share * noise)
    combinations = np.full(n_a * n_b, OF_COMBINATIONS * share * noise)
    return np.concatenate((parts, combinations, np.full(n_users, OF_USERS * noise), [1.0]))  # m lies in [-1, 1]
