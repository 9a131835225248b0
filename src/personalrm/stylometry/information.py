"""Which pair would tell most about a user's weights.

The information an answer is expected to give is the mutual information of answer and
weights, I = H(E p) - E H(p) with p = sigmoid(w . d) and w ~ N(m, C), the posterior by
Laplace's approximation (BALD; Houlsby et al. 2011). The margin w . d is a Gaussian of one
dimension, so the expectation is a quadrature and nothing else is approximated.

Several pairs are chosen greedily: after each, the posterior is narrowed by the information
its answer holds on average, whatever the answer will be, so that a second pair about the
same thing is worth less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.feature_words import FEATURES
from personalrm.stylometry.weights import Weights, probability

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
LEAST_SHARE = 0.15
"""A feature that makes up less of what is unknown about a pair is not named."""
MOST_NAMED = 3


@dataclass(frozen=True)
class Informative:
    """A pair worth asking about."""

    place: int
    """Where it stands among the candidates."""
    bits: float
    """Expected information about the weights, in [0, 1], given the answers to those chosen before it."""
    chance: float
    """P(first preferred), averaged over the posterior."""
    features: tuple[str, ...]
    """What its answer would tell most about, most first."""


def expected_information(mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Bits that the answer to a pair is expected to give about the weights.

    Args:
        mean: Shape `(pairs,)`, mean of the margin.
        variance: Shape `(pairs,)`, variance of the margin under the posterior.

    >>> expected_information(np.array([0.0, 0.0, 5.0]), np.array([0.0, 4.0, 4.0])).round(2).tolist()
    [0.0, 0.33, 0.06]
    """
    p = _chances(mean, variance)
    return np.asarray(np.maximum(_entropy(p @ NODE_WEIGHTS) - _entropy(p) @ NODE_WEIGHTS, 0.0))


def choose_informative(weights: Weights, differences: FloatArray, n: int) -> list[Informative]:
    """The `n` candidates that tell most about the weights, best first, each at most once.

    Args:
        weights: The user's posterior.
        differences: Shape `(candidates, features)`, x(first) - x(second), unscaled.
        n: How many; fewer come back where there are fewer candidates.
    """
    d = differences / weights.prior.scale
    covariance = weights.covariance.copy()
    mean = d @ weights.mean
    chosen: list[Informative] = []
    left = np.ones(len(d), dtype=bool)
    for _ in range(min(n, len(d))):
        reach = d @ covariance  # (candidates, features)
        variance = np.maximum((reach * d).sum(axis=1), 0.0)
        bits = np.where(left, expected_information(mean, variance), -1.0)
        best = int(bits.argmax())
        left[best] = False
        p = _chances(mean[best : best + 1], variance[best : best + 1])
        unknown = reach[best] * d[best]  # (features,), sums to the margin's variance
        strongest = [place for place in np.argsort(-unknown, kind="stable")[:MOST_NAMED] if unknown.sum() > 0]
        named = tuple(FEATURES[place].name for place in strongest if unknown[place] >= LEAST_SHARE * unknown.sum())
        chosen.append(Informative(best, float(bits[best]), float(p[0] @ NODE_WEIGHTS), named))
        curvature = float((p * (1.0 - p))[0] @ NODE_WEIGHTS)
        covariance -= np.outer(reach[best], reach[best]) * (curvature / (1.0 + curvature * variance[best]))
    return chosen


def _chances(mean: FloatArray, variance: FloatArray) -> FloatArray:
    """sigmoid of the margin at the nodes, shape `(pairs, nodes)`."""
    return probability(mean[:, None] + np.sqrt(variance)[:, None] * NODES)


def _entropy(p: FloatArray) -> FloatArray:
    """Entropy of a coin in bits; 0 at the ends."""
    inside = np.clip(p, 1e-300, 1.0 - 1e-16)
    return np.asarray(-(inside * np.log2(inside) + (1.0 - inside) * np.log2(1.0 - inside)))
