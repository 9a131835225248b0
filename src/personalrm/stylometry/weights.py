"""One user's weights: the MAP fit to their choices, with its Laplace posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.stats.arrays import FloatArray
from personalrm.stats.bradley_terry import ChoiceProblem, fit_map_many
from personalrm.stylometry.observations import Choices
from personalrm.stylometry.population import Prior


@dataclass(frozen=True, repr=False)
class Weights:
    """What is believed of one user after their choices."""

    prior: Prior
    mean: FloatArray
    """Posterior mode, shape `(features,)`, in scaled units."""
    covariance: FloatArray
    """Laplace covariance, shape `(features, features)`."""
    n_choices: int
    """Independent choices it rests on."""

    @property
    def sd(self) -> FloatArray:
        """Posterior standard deviation of each weight, shape `(features,)`."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))

    def margin(self, difference: FloatArray) -> FloatArray:
        """Reward of the first minus reward of the second; `difference` is `(..., features)`, unscaled."""
        return np.asarray((difference / self.prior.scale) @ self.mean)


def fit_weights(choices: Sequence[Choices], priors: Sequence[Prior]) -> list[Weights]:
    """MAP weights of many users at once, each with their own prior.

    A user without choices keeps the prior: mean mu and covariance Sigma.
    """
    if not choices:
        return []
    posterior = fit_map_many(
        [ChoiceProblem(c.differences / prior.scale, c.groups) for c, prior in zip(choices, priors, strict=True)],
        np.array([prior.mean for prior in priors]),
        np.array([1.0 / prior.variance for prior in priors]),
    )
    return [
        Weights(prior, mode, covariance, c.n_choices)
        for c, prior, mode, covariance in zip(choices, priors, posterior.mode, posterior.covariance(), strict=True)
    ]


def probability(margin: FloatArray) -> FloatArray:
    """P(first preferred) = sigmoid(margin) (Bradley-Terry)."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)))
