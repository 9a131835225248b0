"""Accuracy by number of context choices (paper Figures 2 and 8).

For each k: the users with at least k context choices, k of them drawn at random,
fitted on those, scored on all their targets; the population is the same throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.bench.targets import HeldOut
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness, percent
from personalrm.stylometry.features import FloatArray, difference
from personalrm.stylometry.observations import Choices, observe
from personalrm.stylometry.population import estimate_population
from personalrm.stylometry.weights import fit_weights


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy of the users that have at least `n_choices` context choices."""

    n_choices: int
    personal: Accuracy
    population: Accuracy

    def cells(self) -> tuple[str, ...]:
        """The point as a row of a table, macro accuracy in percent."""
        interval = f"[{percent(self.personal.macro_low)}, {percent(self.personal.macro_high)}]"
        accuracies = (percent(self.population.macro), percent(self.personal.macro))
        return (str(self.n_choices), str(self.personal.n_users), *accuracies, interval)


def accuracy_by_context(held_out: HeldOut, numbers: Sequence[int], *, seed: int = 0) -> list[CurvePoint]:
    """One point for each number of choices that at least two users have."""
    choices = {user.user_id: observe(user.pairs) for user in held_out.context.values()}
    if len(choices) < 2:
        return []
    population = estimate_population(choices)
    points = []
    for n_choices in sorted(set(numbers)):
        users = [user for user in choices if choices[user].n_choices >= n_choices]
        if len(users) < 2:
            continue
        rng = np.random.default_rng([seed, n_choices])
        drawn = [draw_choices(choices[user], n_choices, rng) for user in users]
        priors = [population.prior_for(user) for user in users]
        personal = {
            user: one.mean / one.prior.scale for user, one in zip(users, fit_weights(drawn, priors), strict=True)
        }
        common = {user: prior.mean / prior.scale for user, prior in zip(users, priors, strict=True)}
        points.append(CurvePoint(n_choices, _accuracy(held_out, personal), _accuracy(held_out, common)))
    return points


def draw_choices(choices: Choices, n_choices: int, rng: np.random.Generator) -> Choices:
    """A random `n_choices` of the choices, whole, in their order."""
    kept = np.sort(rng.permutation(choices.n_choices)[:n_choices])
    rows = np.isin(choices.groups, kept)
    ids = tuple(pair_id for pair_id, keeps in zip(choices.pair_ids, rows, strict=True) if keeps)
    return Choices(choices.differences[rows], np.searchsorted(kept, choices.groups[rows]), ids)


def _accuracy(held_out: HeldOut, weights: dict[str, FloatArray]) -> Accuracy:
    targets = [pair for pair in held_out.targets if pair.user_id in weights]
    margins = [difference(p.conversation, p.chosen, p.rejected) @ weights[p.user_id] for p in targets]
    return mean_correctness(correctness(np.array(margins)), [pair.user_id for pair in targets])
