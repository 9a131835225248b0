"""Accuracy by number of context choices (paper Figures 2 and 8).

For each k: the users with at least k context choices, k of them drawn at random,
fitted on those, scored on all their targets; the population is the same throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.bench.embedded_methods import Engine, personal_method, population_method
from personalrm.bench.method import Method, outcome_of
from personalrm.bench.target_judgements import judge_targets
from personalrm.bench.targets import HeldOut
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness, percent


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
    if len(held_out.context) < 2:
        return []
    engine = Engine()
    engine.learn(held_out)
    points = []
    for n_choices in sorted(set(numbers)):
        users = draw_users(held_out.context.values(), n_choices, seed=seed)
        if len(users) < 2:
            continue
        known = {user.user_id for user in users}
        targets = [pair for pair in held_out.targets if pair.user_id in known]
        personal = _accuracy(personal_method(engine), users, targets)
        points.append(CurvePoint(n_choices, personal, _accuracy(population_method(engine), users, targets)))
    return points


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


def _accuracy(method: Method, users: Sequence[User], targets: Sequence[PreferencePair]) -> Accuracy:
    outcome = outcome_of(judge_targets(method, method.know(users), targets))
    return mean_correctness(correctness(outcome.margins), [pair.user_id for pair in targets])
