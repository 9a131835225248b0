"""Weights on the simplex from a few pairs, all users in one solve.

A user mixes K prototypes (PAL), bases (LoRe) or soup ingredients with weights p =
softmax(l). With a_ik the margin of pair i under prototype k alone, the fit minimizes

    f(l) = sum_i c_i log(1 + exp(-a_i . p)) + strength / 2 |l - l_0|^2

over l only. Users are padded to one array and step together,
each by its own damped Newton step, so a batch and a loop give the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.arrays import FloatArray

MOST_STEPS = 100
MOST_HALVINGS = 30
TOLERANCE = 1e-10
LEAST_STRENGTH = 1e-6
"""Added to every strength: p does not change when a constant is added to l, so l needs something to hold it."""


@dataclass(frozen=True, repr=False)
class SimplexFit:
    """Fitted weights of several users."""

    logits: FloatArray
    """Shape `(users, prototypes)`."""
    weights: FloatArray
    """Shape `(users, prototypes)`, softmax of the logits: positive, each row sums to 1."""


@dataclass(frozen=True, repr=False)
class _Padded:
    """The problem of all users, padded with pairs of weight 0."""

    a: FloatArray
    """Shape `(users, pairs, prototypes)`."""
    c: FloatArray
    """Shape `(users, pairs)`."""
    prior: FloatArray
    """Shape `(prototypes,)`."""
    strength: float

    def value(self, logits: FloatArray) -> FloatArray:
        """f of each user, shape `(users,)`."""
        m = np.einsum("unk,uk->un", self.a, softmax(logits))
        fit = (self.c * np.logaddexp(0.0, -m)).sum(axis=1)
        return np.asarray(fit + 0.5 * self.strength * ((logits - self.prior) ** 2).sum(axis=1))

    def step(self, logits: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Each user's Newton step, `(users, prototypes)`, and the slope of f along it, `(users,)`, never positive."""
        p = softmax(logits)
        m = np.einsum("unk,uk->un", self.a, p)
        wrong = 0.5 * (1.0 - np.tanh(0.5 * m))  # sigmoid(-m) without overflow
        jacobian = p[:, None, :] * (self.a - m[..., None])  # dm_i / dl, (users, pairs, K)
        pulled = np.einsum("un,unk->uk", -self.c * wrong, jacobian)  # (users, K)
        gradient = pulled + self.strength * (logits - self.prior)
        hessian = np.einsum("un,unk,unj->ukj", self.c * wrong * (1.0 - wrong), jacobian, jacobian)
        crossed = p[:, :, None] * pulled[:, None, :]
        identity = np.eye(logits.shape[1])
        hessian += pulled[:, :, None] * identity - crossed - crossed.swapaxes(1, 2) + self.strength * identity
        # f is not convex in l. Along a direction of negative curvature the step is as long, but downhill.
        curvatures, directions = np.linalg.eigh(hessian)
        along = np.einsum("ukj,uk->uj", directions, gradient) / np.maximum(np.abs(curvatures), LEAST_STRENGTH)
        step = -np.einsum("ukj,uj->uk", directions, along)
        return step, (gradient * step).sum(axis=1)


def fit_simplex(
    margins: Sequence[FloatArray],
    *,
    weights: Sequence[FloatArray] | None = None,
    prior: FloatArray | None = None,
    strength: float = 1.0,
) -> SimplexFit:
    """The mixing weights of each user; a user without pairs gets the prior's.

    Args:
        margins: One array `(pairs, prototypes)` a user: the margin of each pair under each prototype alone.
        weights: One array `(pairs,)` a user, how much each pair counts; 1 where None.
        prior: Logits `(prototypes,)` of the average user; zeros (all prototypes equally) where None.
        strength: Pull of the prior, at least 0.

    Raises:
        BadInput: If shapes disagree, numbers are not finite, or the strength is negative.
    """
    if not margins:
        raise BadInput("there are no users to fit weights for; pass one array of margins a user")
    padded = _pad(margins, weights, prior, strength)
    logits = np.tile(padded.prior, (len(margins), 1))
    value = padded.value(logits)
    for _ in range(MOST_STEPS):
        step, slope = padded.step(logits)
        trial = padded.value(logits + step)
        for _ in range(MOST_HALVINGS):
            # Each user halves their own step until it brings what its length promises (Armijo).
            worse = ~(trial <= value + 1e-4 * slope + 1e-12 * (1.0 + np.abs(value)))
            if not worse.any():
                break
            step[worse] /= 2.0
            slope[worse] /= 2.0
            trial = padded.value(logits + step)
        logits, value = logits + step, trial
        if np.abs(step).max() < TOLERANCE:
            break
    return SimplexFit(logits, softmax(logits))


def softmax(logits: FloatArray) -> FloatArray:
    """exp(l) / sum exp(l) over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _pad(
    margins: Sequence[FloatArray], weights: Sequence[FloatArray] | None, prior: FloatArray | None, strength: float
) -> _Padded:
    n_prototypes = {of_user.shape[1] if of_user.ndim == 2 else -1 for of_user in margins}
    if len(n_prototypes) != 1 or not min(n_prototypes) > 0:
        raise BadInput(
            f"margins must be (pairs, prototypes) with equal prototypes, got widths {sorted(n_prototypes)!r}"
        )
    if weights is not None and [len(weight) for weight in weights] != [len(of_user) for of_user in margins]:
        raise BadInput("weights and margins disagree in the number of pairs of a user; pass one weight a pair")
    most, width = max(len(of_user) for of_user in margins), n_prototypes.pop()
    a, c = np.zeros((len(margins), most, width)), np.zeros((len(margins), most))
    for place, of_user in enumerate(margins):
        a[place, : len(of_user)] = of_user
        c[place, : len(of_user)] = 1.0 if weights is None else weights[place]
    start = np.zeros(width) if prior is None else np.asarray(prior, dtype=np.float64)
    if not (np.isfinite(a).all() and np.isfinite(c).all() and np.isfinite(start).all() and start.shape == (width,)):
        raise BadInput(
            f"margins, weights and the prior {start.shape!r} must be finite, the prior one logit a prototype"
        )
    if not 0.0 <= strength < np.inf:
        raise BadInput(f"strength must be at least 0, got {strength!r}")
    return _Padded(a, c, start, strength + LEAST_STRENGTH)
