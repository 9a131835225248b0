"""Bradley-Terry and conditional-logit posteriors, many users at once.

A choice c of a user shows one chosen completion and one or more rejected ones; with
d_j = x(chosen) - x(rejected_j) its likelihood is

    P(c | w) = 1 / (1 + sum_j exp(-w . d_j)),

the Bradley-Terry model when there is a single j. With w ~ N(mu, diag(1 / precision))
the posterior mode is found by Newton steps with halving on the (concave) log posterior.
Users are padded to one array, so a thousand small problems cost a few array operations.

The steps are taken in one of two coordinate systems, whichever is smaller. Write
w = mu + v / sqrt(precision) and A for the rows divided by sqrt(precision). The
objective of one user, to be minimized, is

    f(v) = sum_c log(1 + sum_j exp(-m_cj)) + |v|^2 / 2,    m = m_0 + A v.

With p the probability of each rejected row and S = diag(p) - (p p' within a choice),
Newton's step in features solves (A' S A + I) step = A' p - v. The mode lies in the span
of the rows, v = A' alpha, and there the step solves (I + S K) step = p - alpha with
K = A A': a rows x rows system, whatever the number of features, with K made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.arrays import FloatArray, IntArray

MOST_HALVINGS = 40
ROUNDING = 1e-11
"""Relative rise of the objective that is put down to rounding, not to too long a step."""


def normalizer(margins: FloatArray, real: FloatArray) -> tuple[FloatArray, FloatArray]:
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


@dataclass(frozen=True, repr=False)
class ChoiceProblem:
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


def make_batch(problems: Sequence[ChoiceProblem]) -> Batch:
    """The problems padded to the largest of them; see `buckets` for keeping the padding small.

    Raises:
        BadInput: If there are no problems, a difference is not finite or groups are out of order.
    """
    if not problems:
        raise BadInput("there are no problems to pad; pass at least one")
    differences = np.concatenate([problem.differences for problem in problems])  # (all rows, dim)
    if not np.isfinite(differences).all():
        raise BadInput("a feature difference is not finite; check the features of these users' pairs")
    user, choice, place = _places(problems)
    shape = (len(problems), int(choice.max(initial=0)) + 1, int(place.max(initial=0)) + 1)
    padded = np.zeros((*shape, differences.shape[1]))
    real = np.zeros(shape)
    padded[user, choice, place] = differences
    real[user, choice, place] = 1.0
    return Batch(padded, real)


def buckets(problems: Sequence[ChoiceProblem]) -> list[tuple[IntArray, Batch]]:
    """Batches of problems of like size, each with the places of its problems in the input.

    Sizes are grouped by powers of two, so padding at most doubles the work in either
    direction even when one user has a thousand times the choices of another.
    """
    if not problems:
        return []
    user, choice, place = _places(problems)
    n_choices = np.zeros(len(problems), dtype=np.int64)
    n_alternatives = np.zeros(len(problems), dtype=np.int64)
    np.maximum.at(n_choices, user, choice + 1)
    np.maximum.at(n_alternatives, user, place + 1)
    # frexp's exponent is the bit length: 0 -> 0, 1 -> 1, 2-3 -> 2, 4-7 -> 3, ...
    kinds = np.stack([np.frexp(n_choices)[1], np.frexp(n_alternatives)[1]], axis=1)
    different, kind = np.unique(kinds, axis=0, return_inverse=True)
    members = [np.flatnonzero(kind.ravel() == number) for number in range(len(different))]
    return [(places, make_batch([problems[place] for place in places.tolist()])) for places in members]


def log_likelihood(batch: Batch, w: FloatArray) -> FloatArray:
    """Log-likelihood of each user at `w` of shape `(users, dim)`; result `(users,)`."""
    log_z, _ = normalizer(_margins(batch, w), batch.real)
    return np.asarray(-log_z.sum(axis=1))


def derivatives(batch: Batch, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient `(users, dim)` and negative Hessian `(users, dim, dim)` of the log-likelihood."""
    x = batch.differences
    n_users, dim = x.shape[0], x.shape[-1]
    _, p = normalizer(_margins(batch, w), batch.real)  # (users, choices, alternatives)
    rows = x.reshape(n_users, -1, dim)
    transposed = np.swapaxes(rows, 1, 2)
    gradient = (transposed @ p.reshape(n_users, -1, 1))[..., 0]
    return gradient, transposed @ spread(p, rows)


def fit_map(
    batch: Batch,
    mean: FloatArray,
    precision: FloatArray,
    *,
    start: FloatArray | None = None,
    max_steps: int = 50,
    tolerance: float = 1e-8,
) -> Posterior:
    """Posterior modes by Newton's method, all users together.

    Args:
        batch: The users' choices.
        mean: Prior mean, shape `(dim,)` or `(users, dim)`.
        precision: Prior precision (diagonal), shape `(dim,)` or `(users, dim)`, positive.
        start: Where to begin, shape `(users, dim)`; the prior mean when left out.
        max_steps: Newton steps at most.
        tolerance: Stop after a step that moved no user further than this in any
            coordinate, counted in prior standard deviations (or, with fewer rows than
            features, in probability); Newton's error is then about its square.

    Raises:
        BadInput: If a precision is not positive and finite.
    """
    n_users, dim = batch.differences.shape[0], batch.differences.shape[-1]
    lam = np.broadcast_to(np.asarray(precision, dtype=np.float64), (n_users, dim))
    if not (np.isfinite(lam) & (lam > 0)).all():
        raise BadInput("every prior precision must be positive and finite; use a small one for a flat prior")
    mu = np.broadcast_to(np.asarray(mean, dtype=np.float64), (n_users, dim))
    root = np.sqrt(lam)
    a = (batch.differences / root[:, None, None, :]).reshape(n_users, -1, dim)  # (users, rows, dim), A
    transposed, at_mean = np.swapaxes(a, 1, 2), _margins(batch, mu)
    # A start is a point in feature space that need not be reachable from the rows.
    in_rows = start is None and a.shape[1] < dim
    # z is alpha in rows and v in features; margins are m_0 + columns z.
    columns = a @ transposed if in_rows else a
    z = np.zeros((n_users, columns.shape[2])) if start is None else (start - mu) * root
    identity = np.eye(columns.shape[2])

    def evaluate(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Objective of each user, and the probabilities of the rejected rows, at `z`."""
        margins = at_mean + (columns @ z[..., None]).reshape(at_mean.shape)
        # In rows |v|^2 = alpha' K alpha, K alpha being the margins above m_0.
        square = (z * ((margins - at_mean).reshape(z.shape) if in_rows else z)).sum(axis=1)
        log_z, p = normalizer(margins, batch.real)
        return log_z.sum(axis=1) + 0.5 * square, p

    objective, p = evaluate(z)
    for _ in range(max_steps):
        if in_rows:
            system, right = identity + spread(p, columns), p.reshape(z.shape) - z
        else:
            system, right = transposed @ spread(p, a) + identity, (transposed @ p.reshape(n_users, -1, 1))[..., 0] - z
        step = np.linalg.solve(system, right[..., None])[..., 0]
        # All users step together, each halving its own step while its objective rises.
        bound = objective + ROUNDING * (1.0 + np.abs(objective))
        trial, p = evaluate(z + step)
        for _ in range(MOST_HALVINGS):
            worse = ~(trial <= bound)
            if not worse.any():
                break
            step[worse] /= 2.0
            trial, p = evaluate(z + step)
        z, objective = z + step, trial
        if np.abs(step).max(initial=0.0) < tolerance:
            break
    w = mu + ((z[:, None, :] @ a)[:, 0] if in_rows else z) / root
    hessian = derivatives(batch, w)[1]
    hessian[:, np.arange(dim), np.arange(dim)] += lam
    return Posterior(w, hessian)


def fit_map_many(problems: Sequence[ChoiceProblem], mean: FloatArray, precision: FloatArray) -> Posterior:
    """Posteriors of many users in the order given, padded in buckets of like size.

    Args:
        problems: The users' rows; a user without rows gets the prior back.
        mean: Prior mean, shape `(dim,)` or `(users, dim)`.
        precision: Prior precision (diagonal), shape `(dim,)` or `(users, dim)`, positive.
    """
    dim = np.shape(mean)[-1]
    mu, lam = np.broadcast_to(mean, (len(problems), dim)), np.broadcast_to(precision, (len(problems), dim))
    result = Posterior(np.empty((len(problems), dim)), np.empty((len(problems), dim, dim)))
    for places, batch in buckets(problems):
        part = fit_map(batch, mu[places], lam[places])
        result.mode[places], result.hessian[places] = part.mode, part.hessian
    return result


def _margins(batch: Batch, w: FloatArray) -> FloatArray:
    """w . d of every row, shape `(users, choices, alternatives)`."""
    x = batch.differences
    return np.asarray((x.reshape(x.shape[0], -1, x.shape[-1]) @ w[..., None]).reshape(x.shape[:-1]))


def _places(problems: Sequence[ChoiceProblem]) -> tuple[IntArray, IntArray, IntArray]:
    """User, choice and place within the choice of every row of all problems, each `(all rows,)`."""
    sizes = [len(problem.groups) for problem in problems]
    user = np.repeat(np.arange(len(problems)), sizes)
    choice = np.concatenate([problem.groups for problem in problems]).astype(np.int64)
    step = np.diff(choice)
    if (step[user[1:] == user[:-1]] < 0).any() or (choice < 0).any():
        raise BadInput("the choice numbers of a user must not decrease or be negative; sort the rows by choice")
    number = np.arange(len(choice))
    opens = np.ones(len(choice), dtype=bool)
    opens[1:] = (step != 0) | (user[1:] != user[:-1])
    return user, choice, number - np.maximum.accumulate(np.where(opens, number, 0))
