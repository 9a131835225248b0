"""Accuracy by number of context choices (paper Figures 2 and 8).

For each k: the users with at least k context choices, k of them drawn at random,
fitted on those, scored on all their targets; the population is the same throughout. Who
has many choices is not who has few, so the slope of personal minus population, on the
same users at every k, stands beside that of personal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.bench.methods.embedded import Engine, personal_method, population_method
from personalrm.bench.methods.method import Method, outcome_of
from personalrm.bench.methods.target_judgements import judge_targets
from personalrm.datasets.targets import HeldOut
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness, percent
from personalrm.stats.arrays import FloatArray
from personalrm.stats.slopes import Slope, clustered_slope


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


@dataclass(frozen=True)
class Curve:
    """Accuracy by number of context choices, and how steeply it rises."""

    points: tuple[CurvePoint, ...]
    personal: Slope | None
    """Change of macro accuracy per additional choice; None with fewer than two points."""
    population: Slope | None
    """The same of the population, which learns nothing: what the users who have more choices add by being others."""
    gain: Slope | None
    """The same of personal minus population on the same users: the slope that learning alone makes."""


def accuracy_by_context(held_out: HeldOut, numbers: Sequence[int], *, seed: int = 0) -> Curve:
    """One point for each number of choices that at least two users have, and the slope of a line through them."""
    if len(held_out.context) < 2:
        return Curve((), None, None, None)
    engine = Engine()
    engine.learn(held_out)
    measured: list[_Measured] = []
    for n_choices in sorted(set(numbers)):
        users = draw_users(held_out.context.values(), n_choices, seed=seed)
        if len(users) < 2:
            continue
        known = {user.user_id for user in users}
        targets = [pair for pair in held_out.targets if pair.user_id in known]
        personal, population = (
            _correct(method, users, targets) for method in (personal_method(engine), population_method(engine))
        )
        measured.append(_Measured(n_choices, [pair.user_id for pair in targets], personal, population))
    slopes = (_slope(measured, held_out, one, seed) for one in ("personal", "population", "gain"))
    return Curve(tuple(one.point() for one in measured), *slopes)


@dataclass(frozen=True, repr=False)
class _Measured:
    """Correctness of the targets of those users that have so many choices."""

    n_choices: int
    owners: list[str]
    personal: FloatArray  # (targets,)
    population: FloatArray  # (targets,)

    @property
    def gain(self) -> FloatArray:
        return self.personal - self.population

    def point(self) -> CurvePoint:
        accuracies = (mean_correctness(one, self.owners) for one in (self.personal, self.population))
        return CurvePoint(self.n_choices, *accuracies)


def _slope(measured: Sequence[_Measured], held_out: HeldOut, of: str, seed: int) -> Slope | None:
    """Slope of the users' means, each user counting once a point."""
    if len(measured) < 2:
        return None
    places = {user_id: place for place, user_id in enumerate(held_out.context)}
    sums, counts = np.zeros((2, len(places), len(measured)))
    for column, one in enumerate(measured):
        owner = np.array([places[user_id] for user_id in one.owners])
        n_targets = np.bincount(owner, minlength=len(places))
        total = np.bincount(owner, weights=getattr(one, of), minlength=len(places))
        there = n_targets > 0
        sums[there, column], counts[there, column] = total[there] / n_targets[there], 1.0
    somebody = counts.any(axis=1)
    x = np.array([float(one.n_choices) for one in measured])
    return clustered_slope(x, sums[somebody], counts[somebody], seed=seed)


def draw_users(users: Iterable[User], n_choices: int, *, seed: int = 0) -> list[User]:
    """The users with at least `n_choices` context choices, each with so many of them, drawn at random."""
    rng = np.random.default_rng([seed, n_choices])
    able = [user for user in users if len({pair.choice_key for pair in user.pairs}) >= n_choices]
    return [User(user.user_id, draw_choices(user.pairs, n_choices, rng)) for user in able]


def draw_choices(
    pairs: Sequence[PreferencePair], n_choices: int, rng: np.random.Generator
) -> tuple[PreferencePair, ...]:
    """A random `n_choices` of the choices, all pairs of each, in their order."""
    numbers: dict[str, int] = {}
    of_pair = [numbers.setdefault(pair.choice_key, len(numbers)) for pair in pairs]
    kept = set(rng.permutation(len(numbers))[:n_choices].tolist())
    return tuple(pair for pair, number in zip(pairs, of_pair, strict=True) if number in kept)


def _correct(method: Method, users: Sequence[User], targets: Sequence[PreferencePair]) -> FloatArray:
    outcome = outcome_of(judge_targets(method, method.know(users), targets))
    return correctness(outcome.margins)
