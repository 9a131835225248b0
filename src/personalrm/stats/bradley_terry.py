"""Bradley-Terry and conditional-logit posteriors, many users at once.

A choice c of a user shows one chosen completion and one or more rejected ones; with
d_j = x(chosen) - x(rejected_j) its likelihood is

    P(c | w) = 1 / (1 + sum_j exp(-w . d_j)),

the Bradley-Terry model when there is a single j. With w ~ N(mu, diag(1 / precision))
the posterior mode is found by Newton steps on the Laplace objective. Users are padded
to one array, so a thousand small problems cost a few array operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_STEP = 3.0
"""Longest Newton step in any coordinate; keeps separable data from running away."""


@dataclass(frozen=True, repr=False)
class Problem:
    """One user's rows."""

    differences: FloatArray
    """Shape `(rows, dim)`, x(chosen) - x(rejected)."""
    groups: IntArray
    """Shape `(rows,)`, choice numbers 0, 0, 1, ... in non-decreasing order without gaps."""


@dataclass(frozen=True, repr=False)
class Batch:
    """Problems padded to one shape; make it once, fit it often."""

    differences: FloatArray
    """Shape `(users, choices, alternatives, dim)`, zero where padded."""
    real: FloatArray
    """Shape `(users, choices, alternatives)`, 1 for a row and 0 for padding."""


@dataclass(frozen=True, repr=False)
class Posterior:
    """Laplace posterior of several users."""

    mode: FloatArray
    """Shape `(users, dim)`."""
    hessian: FloatArray
    """Shape `(users, dim, dim)`, of the negative log posterior at the mode."""

    def covariance(self) -> FloatArray:
        """Inverse Hessians, shape `(users, dim, dim)`."""
        return np.asarray(np.linalg.inv(self.hessian))


def make_batch(problems: Sequence[Problem]) -> Batch:
    """The problems padded to the largest of them; see `buckets` for keeping the padding small."""
    dim = problems[0].differences.shape[1]
    sizes = [np.bincount(problem.groups) if len(problem.groups) else np.zeros(0, dtype=np.int64) for problem in problems]
    n_choices = max(1, max(len(size) for size in sizes))
    n_alternatives = max(1, max(int(size.max(initial=0)) for size in sizes))
    differences = np.zeros((len(problems), n_choices, n_alternatives, dim))
    real = np.zeros((len(problems), n_choices, n_alternatives))
    for user, (problem, size) in enumerate(zip(problems, sizes, strict=True)):
        place = np.arange(len(problem.groups)) - np.repeat(np.cumsum(size) - size, size)
        differences[user, problem.groups, place] = problem.differences
        real[user, problem.groups, place] = 1.0
    return Batch(differences, real)


def buckets(problems: Sequence[Problem]) -> list[tuple[IntArray, Batch]]:
    """Batches of problems of like size, each with the places of its problems in the input.

    Sizes are grouped by powers of two, so padding at most doubles the work even when
    one user has a thousand times the choices of another.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for place, problem in enumerate(problems):
        size = np.bincount(problem.groups) if len(problem.groups) else np.zeros(1, dtype=np.int64)
        kinds.setdefault((len(size).bit_length(), int(size.max()).bit_length()), []).append(place)
    return [
        (np.array(places), make_batch([problems[place] for place in places])) for _, places in sorted(kinds.items())
    ]


def log_likelihood(batch: Batch, w: FloatArray) -> FloatArray:
    """Log-likelihood of each user at `w` of shape `(users, dim)`; result `(users,)`."""
    log_z, _ = _normaliser(batch, np.einsum("ucad,ud->uca", batch.differences, w))
    return np.asarray(-log_z.sum(axis=1))


def fit_map(
    batch: Batch,
    mean: FloatArray,
    precision: FloatArray,
    *,
    start: FloatArray | None = None,
    max_steps: int = 50,
    tolerance: float = 1e-9,
) -> Posterior:
    """Posterior modes by Newton's method, all users together.

    Args:
        batch: The users' choices.
        mean: Prior mean, shape `(dim,)` or `(users, dim)`.
        precision: Prior precision (diagonal), shape `(dim,)` or `(users, dim)`, positive.
        start: Where to begin, shape `(users, dim)`; the prior mean when left out.
        max_steps: Newton steps at most.
        tolerance: Stop when no coordinate of any user moves further than this.
    """
    n_users, dim = batch.differences.shape[0], batch.differences.shape[-1]
    mu = np.broadcast_to(mean, (n_users, dim))
    lam = np.broadcast_to(precision, (n_users, dim))
    w = np.array(mu if start is None else start)
    for _ in range(max_steps):
        gradient, hessian = _derivatives(batch, w)
        gradient -= lam * (w - mu)
        step = np.linalg.solve(hessian + _diagonal(lam), gradient[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        w += step * np.minimum(1.0, MAX_STEP / np.maximum(longest, 1e-300))
        if longest.max() < tolerance:
            break
    return Posterior(w, _derivatives(batch, w)[1] + _diagonal(lam))


def _normaliser(batch: Batch, margins: FloatArray) -> tuple[FloatArray, FloatArray]:
    """log(1 + sum_j exp(-margin_j)), shape `(users, choices)`, and each term over that sum, `(users, choices, a)`."""
    negative = np.where(batch.real > 0, -margins, -np.inf)
    highest = np.maximum(negative.max(axis=2), 0.0)
    terms = np.exp(negative - highest[..., None])
    z = np.exp(-highest) + terms.sum(axis=2)
    return np.log(z) + highest, terms / z[..., None]


def _derivatives(batch: Batch, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient `(users, dim)` and negative Hessian `(users, dim, dim)` of the log-likelihood."""
    x = batch.differences
    n_users, dim = x.shape[0], x.shape[-1]
    margins = (x.reshape(n_users, -1, dim) @ w[..., None]).reshape(x.shape[:-1])
    _, p = _normaliser(batch, margins)  # (users, choices, alternatives): the rejected one is taken instead
    weighted = x * p[..., None]
    expected = weighted.sum(axis=2)  # (users, choices, dim)
    rows, weighted_rows = x.reshape(n_users, -1, dim), weighted.reshape(n_users, -1, dim)
    hessian = np.swapaxes(weighted_rows, 1, 2) @ rows - np.swapaxes(expected, 1, 2) @ expected
    return expected.sum(axis=1), hessian


def _diagonal(values: FloatArray) -> FloatArray:
    """Diagonal matrices `(users, dim, dim)` from `(users, dim)`."""
    return values[..., None] * np.eye(values.shape[-1])
