"""What everybody else prefers, and how much people differ: the prior of one user.

The reward of user u is w_u . x / scale with w_u ~ N(mu, Sigma), Sigma diagonal. From
the context pairs of the users at hand:

- scale: root mean square of each feature's differences;
- mu for u: the ridge Bradley-Terry fit to the choices of all *other* users, refitted
  without u's rows by a few quasi-Newton steps, so it is exactly what it would be had
  u never existed;
- Sigma for u: empirical Bayes (EM, with expectation propagation) over users of the other
  groups. Users are dealt into four groups by a hash of their id (each alone while
  there are at most `LEAVE_ONE_OUT` of them), so u's choices never touch u's prior.

Where choices carry no personal signal Sigma shrinks to nothing and every user is
judged by mu. Nothing here reads a target pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.arrays import BoolArray, FloatArray, IntArray
from personalrm.stats.bradley_terry import ChoiceProblem, buckets, fit_map, make_batch
from personalrm.stats.expectation_propagation import make_sites, refine
from personalrm.stylometry.observations import Choices

RIDGE = 40.0
"""Prior precision of mu in scaled units; chosen by likelihood of left-out context conversations (docs/log.md)."""
FIRST_VARIANCE = 0.3
"""Where the EM for Sigma starts."""
LEAST_VARIANCE = 1e-4
MOST_VARIANCE = 4.0
SHARED_ROUNDS, SEPARATE_ROUNDS = 14, 12
FIRST_STRETCH, MOST_STRETCH = 4.0, 16.0
"""How far an EM step is stretched at first and at most."""
N_GROUPS = 4
LEAVE_ONE_OUT = 24
"""Up to this many users, everyone is a group of their own."""
JOBS_AT_ONCE = 64
MOST_LEAVE_OUT_STEPS = 200
LEAVE_OUT_TOLERANCE = 1e-8


@dataclass(frozen=True, repr=False)
class Prior:
    """What is believed of a user before any of their choices is seen."""

    scale: FloatArray
    """Shape `(features,)`, divisor of differences."""
    mean: FloatArray
    """mu, shape `(features,)`."""
    variance: FloatArray
    """Diagonal of Sigma, shape `(features,)`."""
    n_users: int = 0
    """How many people it was learned from."""


@dataclass(frozen=True, repr=False)
class Population:
    """Scaled rows of many users, and what follows from them for each user left out."""

    user_ids: tuple[str, ...]
    scale: FloatArray
    mean: FloatArray
    """mu over all users, shape `(features,)`: the prior mean of a stranger."""
    variance: FloatArray
    """Sigma over all users, shape `(features,)`."""
    means: FloatArray
    """mu without each user, shape `(users, features)`."""
    variances: FloatArray
    """Sigma without each group, shape `(groups, features)`."""
    groups: IntArray
    """Group of each user, shape `(users,)`."""
    rows: ChoiceProblem
    """All scaled rows, their choices numbered through."""
    owners: IntArray
    """Shape `(rows,)`, the user of each row; within a user rows stand as in their `Choices`."""

    def prior_for(self, user_id: str) -> Prior:
        """The prior of a user, learned from everybody else."""
        if user_id not in self._places:
            return Prior(self.scale, self.mean, self.variance, len(self.user_ids))
        place = self._places[user_id]
        return Prior(self.scale, self.means[place], self.variances[self.groups[place]], len(self.user_ids) - 1)

    def means_without(self, user_ids: Sequence[str], left_out: Sequence[BoolArray]) -> FloatArray:
        """mu for each user without their own rows and those of a mask `(rows,)`; shape `(jobs, features)`."""
        masks = [
            (self.owners == self._places.get(user, -1)) | mask for user, mask in zip(user_ids, left_out, strict=True)
        ]
        return leave_out(self.rows, self.mean, masks)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {user_id: place for place, user_id in enumerate(self.user_ids)}


def estimate_population(choices: Mapping[str, Choices]) -> Population:
    """The population of these users' context choices.

    Raises:
        BadInput: If there are fewer than two users with a choice; use the shipped prior then.
    """
    users = [user for user in choices if choices[user].n_choices]
    if len(users) < 2:
        raise BadInput(f"a population needs two users with choices, got {len(users)}; use the shipped prior")
    scale = root_mean_square([choices[user].differences for user in users])
    problems = [ChoiceProblem(choices[user].differences / scale, choices[user].groups) for user in users]
    n_choices = [int(problem.groups[-1]) + 1 for problem in problems]
    offsets = np.concatenate([[0], np.cumsum(n_choices)[:-1]])
    numbers = np.concatenate([problem.groups + offset for problem, offset in zip(problems, offsets, strict=True)])
    rows = ChoiceProblem(np.vstack([problem.differences for problem in problems]), numbers)
    owners = np.repeat(np.arange(len(problems)), [len(problem.groups) for problem in problems])
    mean = fit_map(make_batch([rows]), np.zeros(len(scale)), np.full(len(scale), RIDGE)).mode[0]
    means = leave_out(rows, mean, [owners == place for place in range(len(users))])
    if len(users) <= LEAVE_ONE_OUT:
        groups = np.arange(len(users))
    else:
        hashes = (hashlib.sha256(user.encode("utf-8", "surrogatepass")).digest() for user in users)
        groups = np.array([digest[1] % N_GROUPS for digest in hashes])
    kept = [np.flatnonzero(groups != group) for group in range(groups.max() + 1)]
    kept_means = leave_out(rows, mean, [groups[owners] == group for group in range(len(kept))])
    variances = np.array(
        [_variance([problems[place] for place in places], mu) for places, mu in zip(kept, kept_means, strict=True)]
    )
    return Population(tuple(users), scale, mean, variances.mean(axis=0), means, variances, groups, rows, owners)


def root_mean_square(differences: Sequence[FloatArray]) -> FloatArray:
    """Spread of each feature over all rows, 1 where a feature never varies; shape `(features,)`."""
    total = sum((rows**2).sum(axis=0) for rows in differences) / sum(len(rows) for rows in differences)
    return np.where(total > 0, np.sqrt(total), 1.0)


def leave_out(rows: ChoiceProblem, start: FloatArray, masks: Sequence[BoolArray]) -> FloatArray:
    """The ridge fit again for each mask, without the rows it marks; shape `(masks, features)`.

    Quasi-Newton with the full data's Hessian: leaving out one user changes little, so a
    handful of gradient evaluations, shared by all masks, reach 1e-8.
    """
    whole = fit_map(make_batch([rows]), np.zeros(len(start)), np.full(len(start), RIDGE), start=start[None])
    inverse = np.linalg.inv(whole.hessian[0])
    x = rows.differences
    firsts = np.flatnonzero(np.diff(rows.groups, prepend=-1))
    sizes = np.diff(firsts, append=len(rows.groups))
    fits = []
    for first in range(0, len(masks), JOBS_AT_ONCE):
        kept = (~np.array(masks[first : first + JOBS_AT_ONCE])).T.astype(float)  # (rows, jobs)
        w = np.tile(start, (kept.shape[1], 1))
        for _ in range(MOST_LEAVE_OUT_STEPS):
            terms = np.exp(np.clip(-(x @ w.T), -500.0, 500.0)) * kept
            p = terms / np.repeat(1.0 + np.add.reduceat(terms, firsts, axis=0), sizes, axis=0)
            step = (p.T @ x - RIDGE * w) @ inverse
            w += step
            if np.abs(step).max() < LEAVE_OUT_TOLERANCE:
                break
        fits.append(w)
    return np.vstack(fits)


def _variance(problems: Sequence[ChoiceProblem], mean: FloatArray) -> FloatArray:
    """Diagonal of Sigma by EM: the mean over users of E[(w_u - mu)^2].

    First one variance for all features, then each its own; the result is the mean of
    both, since a single feature's spread is uncertain with few users.
    """
    sites = [make_sites(batch) for _, batch in buckets(problems)]  # what one round of EM hands to the next

    def second_moment(variance: FloatArray) -> FloatArray:
        """Mean over the users of E[(w_u - mu)^2], shape `(features,)`."""
        refined = [refine(of_batch, mean, variance) for of_batch in sites]
        sites[:] = [batch.sites for batch in refined]
        totals = [(batch.deviation**2 + batch.variance).sum(axis=0) for batch in refined]
        return np.asarray(np.sum(totals, axis=0) / len(problems))

    def ascend(variance: FloatArray, rounds: int, *, pooled: bool) -> FloatArray:
        """EM rounds on the variance, each step stretched while it keeps its direction.

        Plain EM creeps when a user's choices say little; a fixed stretch overshoots when they
        say much. So each feature's stretch grows while the ratio stays on one side of 1 and
        shrinks when it crosses.
        """
        stretch, before = np.full(len(variance), FIRST_STRETCH), np.zeros(len(variance))
        for _ in range(rounds):
            moment = second_moment(variance)
            ratio = np.log((moment.mean() if pooled else moment) / variance)
            stretch = np.where(ratio * before < 0, stretch * 0.3, np.minimum(stretch * 1.4, MOST_STRETCH))
            variance = np.clip(variance * np.exp(np.clip(stretch * ratio, -1.5, 1.5)), LEAST_VARIANCE, MOST_VARIANCE)
            before = ratio
        return np.asarray(variance)

    shared = ascend(np.full(len(mean), FIRST_VARIANCE), SHARED_ROUNDS, pooled=True)
    separate = ascend(shared, SEPARATE_ROUNDS, pooled=False)
    return np.asarray((separate + shared) / 2.0)
