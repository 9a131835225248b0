"""Newton's method with step halving for many conditional logits at once, in two coordinate systems.

Write w = mu + v / sqrt(precision) and A for the rows divided by sqrt(precision). The
objective of one user, to be minimised, is

    f(v) = sum_c log(1 + sum_j exp(-m_cj)) + |v|^2 / 2,    m = m_0 + A v.

With p the probability of each rejected row and S = diag(p) - (p p' within a choice),
Newton's step in features solves (A' S A + I) step = A' p - v. The mode lies in the span
of the rows, v = A' alpha, and there the step solves (I + S K) step = p - alpha with
K = A A': a rows x rows system, whatever the number of features, with K made once.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from personalrm.stats.arrays import FloatArray

MOST_HALVINGS = 40
ROUNDING = 1e-11
"""Relative rise of the objective that is put down to rounding, not to too long a step."""


class Space(Protocol):
    """Coordinates in which the objective is a function of `z`, shape `(users, coordinates)`."""

    real: FloatArray

    def margins(self, z: FloatArray) -> FloatArray:
        """Shape `(users, choices, alternatives)`."""
        ...

    def squared_norm(self, z: FloatArray, margins: FloatArray) -> FloatArray:
        """|v|^2 of each user, shape `(users,)`."""
        ...

    def step(self, z: FloatArray, p: FloatArray) -> FloatArray:
        """Newton's step at `z`, where the rejected rows have the probabilities `p`."""
        ...


class FeatureSpace:
    """z is v itself; one dim x dim system a user and step."""

    def __init__(self, whitened: FloatArray, real: FloatArray, at_mean: FloatArray) -> None:
        self.real = real
        self._at_mean = at_mean
        self._a = whitened.reshape(whitened.shape[0], -1, whitened.shape[-1])  # (users, rows, dim)
        self._identity = np.eye(whitened.shape[-1])

    def origin(self) -> FloatArray:
        """The prior mean."""
        return np.zeros((self._a.shape[0], self._a.shape[2]))

    def margins(self, z: FloatArray) -> FloatArray:
        """m_0 + A v."""
        return np.asarray(self._at_mean + (self._a @ z[..., None]).reshape(self._at_mean.shape))

    def squared_norm(self, z: FloatArray, margins: FloatArray) -> FloatArray:
        """|v|^2."""
        return np.asarray((z * z).sum(axis=1))

    def step(self, z: FloatArray, p: FloatArray) -> FloatArray:
        """(A' S A + I) step = A' p - v."""
        transposed = np.swapaxes(self._a, 1, 2)
        gradient = (transposed @ p.reshape(p.shape[0], -1, 1))[..., 0] - z
        return _solve(transposed @ spread(p, self._a) + self._identity, gradient)


class RowSpace:
    """z is alpha, v = A' alpha; one rows x rows system a user and step."""

    def __init__(self, whitened: FloatArray, real: FloatArray, at_mean: FloatArray) -> None:
        self.real = real
        self._at_mean = at_mean
        self._a = whitened.reshape(whitened.shape[0], -1, whitened.shape[-1])  # (users, rows, dim)
        self._k = self._a @ np.swapaxes(self._a, 1, 2)  # (users, rows, rows)
        self._identity = np.eye(self._a.shape[1])

    def origin(self) -> FloatArray:
        """The prior mean."""
        return np.zeros(self._a.shape[:2])

    def features(self, z: FloatArray) -> FloatArray:
        """v = A' alpha, shape `(users, dim)`."""
        return np.asarray((z[:, None, :] @ self._a)[:, 0])

    def margins(self, z: FloatArray) -> FloatArray:
        """m_0 + K alpha."""
        return np.asarray(self._at_mean + (self._k @ z[..., None]).reshape(self._at_mean.shape))

    def squared_norm(self, z: FloatArray, margins: FloatArray) -> FloatArray:
        """alpha' K alpha, K alpha being the margins above m_0."""
        return np.asarray((z * (margins - self._at_mean).reshape(z.shape)).sum(axis=1))

    def step(self, z: FloatArray, p: FloatArray) -> FloatArray:
        """(I + S K) step = p - alpha."""
        return _solve(self._identity + spread(p, self._k), p.reshape(z.shape) - z)


def minimise(space: Space, z: FloatArray, *, max_steps: int, tolerance: float) -> FloatArray:
    """The modes in the coordinates of `space`, from `z`: users step together, each halving its own step if need be."""
    objective, p = _evaluate(space, z)
    for _ in range(max_steps):
        step = space.step(z, p)
        bound = objective + ROUNDING * (1.0 + np.abs(objective))
        trial, p = _evaluate(space, z + step)
        for _ in range(MOST_HALVINGS):
            worse = ~(trial <= bound)
            if not worse.any():
                break
            step[worse] /= 2.0
            trial, p = _evaluate(space, z + step)
        z, objective = z + step, trial
        if np.abs(step).max(initial=0.0) < tolerance:
            break
    return z


def normaliser(margins: FloatArray, real: FloatArray) -> tuple[FloatArray, FloatArray]:
    """log(1 + sum_j exp(-m_j)), `(users, choices)`, and each term over that sum, `(users, choices, alternatives)`.

    The largest exponent is taken out first, so margins of any size neither overflow nor lose the small terms.
    """
    if margins.shape[2] == 1:  # Bradley-Terry; padding has margin 0, so it must not count log 2
        m = margins[..., 0]
        small = np.exp(-np.abs(m))
        log_z = (np.maximum(-m, 0.0) + np.log1p(small)) * real[..., 0]
        return log_z, (np.where(m >= 0, small, 1.0) / (1.0 + small) * real[..., 0])[..., None]
    negative = np.where(real > 0, -margins, -np.inf)
    highest = np.maximum(negative.max(axis=2), 0.0)
    terms = np.exp(negative - highest[..., None])
    # Where the chosen one leads, its exp(0) = 1 stays out of the sum: a sure choice keeps its tiny loss.
    others = terms.sum(axis=2) + np.where(highest > 0, np.exp(-highest) - 1.0, 0.0)
    return highest + np.log1p(others), terms / (1.0 + others)[..., None]


def spread(p: FloatArray, columns: FloatArray) -> FloatArray:
    """S @ columns for `columns` of shape `(users, rows, width)`, without making S."""
    n_users, n_choices, n_alternatives = p.shape
    if n_alternatives == 1:
        return np.asarray((p * (1.0 - p)).reshape(n_users, -1, 1) * columns)
    weighted = p[..., None] * columns.reshape(n_users, n_choices, n_alternatives, -1)
    weighted -= p[..., None] * weighted.sum(axis=2, keepdims=True)
    return np.asarray(weighted.reshape(columns.shape))


def _evaluate(space: Space, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Objective of each user and the probabilities of the rejected rows at `z`."""
    margins = space.margins(z)
    log_z, p = normaliser(margins, space.real)
    return log_z.sum(axis=1) + 0.5 * space.squared_norm(z, margins), p


def _solve(matrices: FloatArray, right: FloatArray) -> FloatArray:
    """One linear system a user."""
    return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0])
