"""How far users lie from the population: posterior moments by expectation propagation.

Laplace's approximation puts the posterior at its mode, which for a handful of binary
choices in many dimensions makes the spread of the users look several times too small
(docs/decisions/0003). Expectation propagation replaces each choice's likelihood by the
Gaussian factor that gives its margin the right mean and variance, which does not.

The algebra is done in rows or in features, whichever are fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from personalrm.stats.arrays import FloatArray
from personalrm.stats.bradley_terry import Batch

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
DAMPING = 0.8
"""Share of each new factor that is taken: all factors change at once, and would swing if taken whole."""
MOST_PRECISION = 1e4
SWEEPS = 12


@dataclass(frozen=True, repr=False)
class Sites:
    """The users' rows and the Gaussian factors that stand for them."""

    x: FloatArray
    """Shape `(users, rows, dim)`."""
    share: FloatArray
    """Shape `(users, rows)`, 1 / alternatives of the row's choice, 0 where padded: rows of one choice count once."""
    precision: FloatArray
    """Shape `(users, rows)`, T."""
    shift: FloatArray
    """Shape `(users, rows)`, precision times location of each factor."""


def make_sites(batch: Batch) -> Sites:
    """Flat factors for every row of the batch."""
    n_users, _, _, dim = batch.differences.shape
    share = batch.real / np.maximum(batch.real.sum(axis=2, keepdims=True), 1.0)
    flat = share.reshape(n_users, -1)
    return Sites(batch.differences.reshape(n_users, -1, dim), flat, np.zeros_like(flat), np.zeros_like(flat))


@dataclass(frozen=True, repr=False)
class Refined:
    """What a sweep found."""

    sites: Sites
    """The factors after it."""
    deviation: FloatArray
    """Shape `(users, dim)`, E[w_u] - mean before it."""
    variance: FloatArray
    """Shape `(users, dim)`, posterior variance of each weight before it."""


def refine(sites: Sites, mean: FloatArray, variance: FloatArray) -> Refined:
    """One parallel sweep over all factors.

    Args:
        sites: The factors so far.
        mean: Prior mean, shape `(dim,)` or `(users, dim)`.
        variance: Prior variance (diagonal), shape `(dim,)` or `(users, dim)`.
    """
    x = sites.x
    mean, variance = np.broadcast_to(mean, x[:, 0].shape), np.broadcast_to(variance, x[:, 0].shape)
    prior_margin = (x @ mean[..., None])[..., 0]
    solve = _in_rows if x.shape[1] <= x.shape[2] else _in_features
    solved = solve(sites, sites.shift - sites.precision * prior_margin, variance)
    margin_mean = prior_margin + (x @ solved.deviation[..., None])[..., 0]
    margin_variance = np.maximum(solved.margin_variance, 1e-12)
    # Each factor is taken out (the cavity), and a new one made from the moments its likelihood tilts the margin to.
    cavity_precision = np.maximum(1.0 / margin_variance - sites.precision, 1e-8)
    cavity_shift = margin_mean / margin_variance - sites.shift
    location, scale = cavity_shift / cavity_precision, 1.0 / np.sqrt(cavity_precision)
    t = location[..., None] + scale[..., None] * NODES
    likelihood = np.exp(-sites.share[..., None] * np.logaddexp(0.0, -t)) * NODE_WEIGHTS
    z = likelihood.sum(axis=-1)
    first = (likelihood * t).sum(axis=-1) / z
    second = np.maximum((likelihood * t * t).sum(axis=-1) / z - first**2, 1e-12)
    precision = np.clip(1.0 / second - cavity_precision, 0.0, MOST_PRECISION)
    shift = first / second - cavity_shift
    real = sites.share > 0
    matched = Sites(
        sites.x,
        sites.share,
        np.where(real, (1 - DAMPING) * sites.precision + DAMPING * precision, 0.0),
        np.where(real, (1 - DAMPING) * sites.shift + DAMPING * shift, 0.0),
    )
    return Refined(matched, solved.deviation, np.maximum(solved.variance, 1e-12))


class _Solved(NamedTuple):
    deviation: FloatArray  # (users, dim)
    variance: FloatArray  # (users, dim), of the weights
    margin_variance: FloatArray  # (users, rows)


def _in_rows(sites: Sites, pull: FloatArray, variance: FloatArray) -> _Solved:
    """The posterior under the factors so far, by algebra of size rows x rows.

    With K = X S X' and site precisions T the posterior covariance is S - S X' B X S,
    B = T^(1/2) (I + T^(1/2) K T^(1/2))^-1 T^(1/2) (Rasmussen and Williams 2006, section 3.6),
    and the deviation S X' (I - B K) pull.
    """
    x, root = sites.x, np.sqrt(sites.precision)
    spread = x * variance[:, None, :]  # (users, rows, dim), X S
    k = spread @ np.swapaxes(x, 1, 2)  # (users, rows, rows)
    inner = np.linalg.inv(np.eye(x.shape[1]) + root[:, :, None] * k * root[:, None, :])
    b = root[:, :, None] * inner * root[:, None, :]
    a = pull - (b @ (k @ pull[..., None]))[..., 0]
    deviation = (np.swapaxes(spread, 1, 2) @ a[..., None])[..., 0]
    margin_variance = np.diagonal(k, axis1=1, axis2=2) - ((k @ b) * k).sum(axis=2)
    return _Solved(deviation, variance - (spread * (b @ spread)).sum(axis=1), margin_variance)


def _in_features(sites: Sites, pull: FloatArray, variance: FloatArray) -> _Solved:
    """The same by algebra of size dim x dim: covariance (S^-1 + X' T X)^-1."""
    x = sites.x
    transposed = np.swapaxes(x, 1, 2)
    precision = transposed @ (sites.precision[..., None] * x)
    places = np.arange(x.shape[2])
    precision[:, places, places] += 1.0 / variance
    covariance: FloatArray = np.linalg.inv(precision).astype(np.float64, copy=False)
    deviation = (covariance @ (transposed @ pull[..., None]))[..., 0]
    return _Solved(deviation, covariance[:, places, places], ((x @ covariance) * x).sum(axis=2))


def moments(batch: Batch, mean: FloatArray, variance: FloatArray) -> Refined:
    """Posterior deviation and variance of every user's weights under given priors; arguments as in `refine`."""
    refined = Refined(make_sites(batch), mean, variance)
    for _ in range(SWEEPS):
        refined = refine(refined.sites, mean, variance)
    return refined
