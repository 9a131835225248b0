"""Rows of the embedded engine: the population, and what it learns of each user in four ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from personalrm.stylometry.observations import Choices, Timeline, observe, observe_in_time, row_pairs
from personalrm.stylometry.population import Population, Prior, estimate_population
from personalrm.stylometry.shipped import shipped_prior
from personalrm.stylometry.weights import fit_weights


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
        keys = [(id(knowledge), self._item_of(knowledge, pair)) for knowledge, pair in items]
        distinct = {key: knowledge for key, (knowledge, _) in zip(keys, items, strict=True)}
        places = {key: place for place, key in enumerate(distinct)}
        known = list(distinct.values())
        priors = self._priors(known, [value for _, value in distinct])
        means = weigh(known, priors)[[places[key] for key in keys]]  # (items, features)
        x = self._rows([pair for _, pair in items]) / priors[0].scale  # one scale for all
        return [Judgement(margin=float(margin)) for margin in (x * means).sum(axis=1)]

    def _item_of(self, knowledge: Knowledge, pair: PreferencePair) -> str | None:
        """The value whose rows are left out; None where nothing is."""
        if self._leave_out is None or knowledge.user_id != pair.user_id:
            return None
        return _column(pair, self._leave_out)

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

    def _rows(self, pairs: Sequence[PreferencePair]) -> FloatArray:
        """x(chosen) - x(rejected) of every pair, unscaled, shape `(pairs, features)`; each text is read once."""
        for pair in pairs:
            if pair.hash not in self._places:
                self._places[pair.hash] = len(self._differences)
                self._differences.append(difference(pair.conversation, pair.chosen, pair.rejected))
        return np.array(self._differences)[[self._places[pair.hash] for pair in pairs]]


@dataclass(frozen=True, repr=False)
class _Seen:
    """The choices of a user, as they stand and in time order."""

    choices: Choices
    timeline: Timeline

    @classmethod
    def of(cls, user: User) -> _Seen:
        return cls(observe(user.pairs), observe_in_time(user.pairs))


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
    return EmbeddedMethod(engine, lambda users: [_Seen.of(user) for user in users], _map_weights)


def constant_method(engine: Engine) -> EmbeddedMethod:
    """MAP weights on all context pairs as if nobody's taste ever changed: what following a change is held against."""
    return EmbeddedMethod(engine, lambda users: [_Seen.of(user) for user in users], _constant_weights)


def induced_method(engine: Engine, settings: InductionSettings, variant: Variant) -> EmbeddedMethod:
    """Weights that follow from an induced personal prompt: persona, demonstrations, or both."""
    chosen = replace(settings, variant=variant)

    def prompts(users: Sequence[User]) -> list[Any]:
        with_pairs = [user for user in users if user.pairs]
        found = {prompt.user_id: prompt for prompt in EmbeddedFit(chosen, engine.prior_for).fit(with_pairs)}
        return [found.get(user.user_id) for user in users]

    return EmbeddedMethod(engine, prompts, _prompt_weights)


def _map_weights(known: Sequence[Knowledge], priors: Sequence[Prior]) -> FloatArray:
    seen = [knowledge.value for knowledge in known]
    present = fit_present([user.choices for user in seen], [user.timeline for user in seen], priors)
    return np.array([taste.weights.mean for taste in present])


def _constant_weights(known: Sequence[Knowledge], priors: Sequence[Prior]) -> FloatArray:
    return np.array([weights.mean for weights in fit_weights([knowledge.value.choices for knowledge in known], priors)])


def _prompt_weights(known: Sequence[Knowledge], priors: Sequence[Prior]) -> FloatArray:
    means = []
    for knowledge, prior in zip(known, priors, strict=True):
        prompt = knowledge.value
        shown = (prompt.persona, prompt.demonstrations) if prompt is not None else (None, ())
        means.append(EmbeddedJudge(fixed(prior)).weigh(knowledge.user_id, *shown).mean)
    return np.array(means)


def _column(pair: PreferencePair, name: str) -> str:
    """The value of a `meta` column, as text.

    Raises:
        UnknownName: If the pair has no such column.
    """
    if name not in pair.meta:
        known = ", ".join(sorted(pair.meta)) or "none"
        raise UnknownName(f"pair {pair.id!r} of user {pair.user_id!r} has no column {name!r}; its columns: {known}")
    return str(pair.meta[name])
