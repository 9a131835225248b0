"""Rows of the embedded engine: the population, and what it learns of each user in four ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from personalrm.bench.methods.method import Item, Judgement, Knowledge, Surveys
from personalrm.datasets.targets import HeldOut
from personalrm.errors import NotFitted, UnknownName
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.judging.embedded import EmbeddedJudge, fixed
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.drift import fit_present
from personalrm.stylometry.features import difference
from personalrm.stylometry.observations import Choices, observe, observe_in_time, row_pairs
from personalrm.stylometry.population import Population, Prior, estimate_population
from personalrm.stylometry.shipped import shipped_prior


class Engine:
    """What the rows of the embedded engine share on one dataset, each found once.

    Args:
        leave_out: A `meta` column; rows of others that share a pair's value are left out of
            the population that its owner's weights start from (for data where people judge
            the same items). Somebody else's weights start from the whole population.
    """

    def __init__(self, leave_out: str | None = None) -> None:
        self._leave_out = leave_out
        self._learned_from: HeldOut | None = None
        self._context: Mapping[str, User] = {}
        self._population: Population | None = None
        self._places: dict[str, int] = {}
        self._differences: list[FloatArray] = []
        self.choices: dict[str, Choices] = {}
        """What each user chose in their context pairs."""

    def learn(self, held_out: HeldOut) -> None:
        """The population of the context pairs; with a single user the shipped prior takes its place."""
        if held_out is self._learned_from:
            return
        self._learned_from = held_out
        self._context = dict(held_out.learnable)
        self.choices = {user.user_id: observe(user.pairs) for user in self._context.values()}
        self._population = estimate_population(self.choices) if len(self.choices) > 1 else None

    def prior_for(self, user_id: str) -> Prior:
        """The prior of a user, learned from everybody else."""
        if self._learned_from is None:
            raise NotFitted("this engine has not seen the data; call learn before know and judge")
        return self._population.prior_for(user_id) if self._population else shipped_prior()

    def judge(self, items: Sequence[Item], weigh: Weigher) -> list[Judgement]:
        """The margin of every item under the weights that belong to its knowledge."""
        if not items:
            return []
        name = self._leave_out
        keys = [  # whose taste, and the value whose rows are left out; None where nothing is
            (id(knowledge), _column(pair, name) if name is not None and knowledge.user_id == pair.user_id else None)
            for knowledge, pair in items
        ]
        distinct = {key: knowledge for key, (knowledge, _) in zip(keys, items, strict=True)}
        places = {key: place for place, key in enumerate(distinct)}
        known = list(distinct.values())
        priors = self._priors(known, [value for _, value in distinct])
        means = weigh(known, priors)[[places[key] for key in keys]]  # (items, features)
        for _, pair in items:  # each text is read once
            if pair.hash not in self._places:
                self._places[pair.hash] = len(self._differences)
                self._differences.append(difference(pair.conversation, pair.chosen, pair.rejected))
        rows = np.array(self._differences)[[self._places[pair.hash] for _, pair in items]]  # (items, features)
        x = rows / priors[0].scale  # one scale for all
        return [Judgement(margin=float(margin)) for margin in (x * means).sum(axis=1)]

    def _priors(self, known: Sequence[Knowledge], values: Sequence[str | None]) -> list[Prior]:
        priors = [self.prior_for(knowledge.user_id) for knowledge in known]
        places = [place for place, value in enumerate(values) if value is not None]
        if self._population is None or not places:
            return priors
        # The context pair behind each row of the population.
        pairs = [pair for user_id in self._population.user_ids for pair in row_pairs(self._context[user_id].pairs)]
        of_rows = np.array([_column(pair, self._leave_out or "") for pair in pairs])
        means = self._population.means_without(
            [known[place].user_id for place in places], [of_rows == values[place] for place in places]
        )
        for place, mean in zip(places, means, strict=True):
            priors[place] = replace(priors[place], mean=mean)
        return priors


Knower = Callable[[Sequence[User]], list[Any]]
"""What a row of the engine knows of each user, in order."""
Weigher = Callable[[Sequence[Knowledge], Sequence[Prior]], FloatArray]
"""The weights that follow from it under these priors, shape `(known, features)`."""


class EmbeddedMethod:
    """One row of the engine.

    Args:
        engine: Shared by the rows.
        know: What it keeps of each user.
        weigh: What weights it makes of that.
    """

    def __init__(self, engine: Engine, know: Knower, weigh: Weigher) -> None:
        self._engine, self._know, self._weigh = engine, know, weigh

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """The population."""
        self._engine.learn(held_out)

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """What the row keeps of each user."""
        return [Knowledge(user.user_id, value) for user, value in zip(users, self._know(users), strict=True)]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """Margins under the row's weights."""
        return self._engine.judge(items, self._weigh)


def population_method(engine: Engine) -> EmbeddedMethod:
    """What everybody else prefers."""
    return EmbeddedMethod(
        engine, lambda users: [None] * len(users), lambda _, priors: np.array([prior.mean for prior in priors])
    )


def personal_method(engine: Engine) -> EmbeddedMethod:
    """MAP weights on all context pairs, the later ones where a taste has changed: the engine's default."""

    def see(users: Sequence[User]) -> list[Any]:
        return [(observe(user.pairs), observe_in_time(user.pairs)) for user in users]

    def weigh(known: Sequence[Knowledge], priors: Sequence[Prior]) -> FloatArray:
        choices, timelines = zip(*(knowledge.value for knowledge in known), strict=True)
        return np.array([taste.weights.mean for taste in fit_present(choices, timelines, priors)])

    return EmbeddedMethod(engine, see, weigh)


def induced_method(engine: Engine, settings: InductionSettings, variant: Variant) -> EmbeddedMethod:
    """Weights that follow from an induced personal prompt: persona, demonstrations, or both."""
    chosen = replace(settings, variant=variant)

    def prompts(users: Sequence[User]) -> list[Any]:
        with_pairs = [user for user in users if user.pairs]
        found = {prompt.user_id: prompt for prompt in EmbeddedFit(chosen, engine.prior_for).fit(with_pairs)}
        return [found.get(user.user_id) for user in users]

    def weigh(known: Sequence[Knowledge], priors: Sequence[Prior]) -> FloatArray:
        means = []
        for knowledge, prior in zip(known, priors, strict=True):
            prompt = knowledge.value
            shown = (prompt.persona, prompt.demonstrations) if prompt is not None else (None, ())
            means.append(EmbeddedJudge(fixed(prior)).weigh(knowledge.user_id, *shown).mean)
        return np.array(means)

    return EmbeddedMethod(engine, prompts, weigh)


def _column(pair: PreferencePair, name: str) -> str:
    """The value of a `meta` column, as text.

    Raises:
        UnknownName: If the pair has no such column.
    """
    if name not in pair.meta:
        known = ", ".join(sorted(pair.meta)) or "none"
        raise UnknownName(f"pair {pair.id!r} of user {pair.user_id!r} has no column {name!r}; its columns: {known}")
    return str(pair.meta[name])
