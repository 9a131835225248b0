"""One user's weights: the MAP fit to their choices, with its Laplace posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.stats.arrays import FloatArray
from personalrm.stats.bradley_terry import ChoiceProblem, buckets, fit_map
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
    problems = [ChoiceProblem(c.differences / prior.scale, c.groups) for c, prior in zip(choices, priors, strict=True)]
    found: list[Weights | None] = [None] * len(problems)
    for places, batch in buckets(problems):
        means = np.array([priors[place].mean for place in places])
        precisions = np.array([1.0 / priors[place].variance for place in places])
        posterior = fit_map(batch, means, precisions)
        for row, (place, covariance) in enumerate(zip(places, posterior.covariance(), strict=True)):
            found[place] = Weights(priors[place], posterior.mode[row], covariance, choices[place].n_choices)
    return [weights for weights in found if weights is not None]


def probability(margin: FloatArray) -> FloatArray:
    """P(first preferred) = sigmoid(margin) (Bradley-Terry)."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)))
