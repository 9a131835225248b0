"""Evaluation of the embedded engine on held-out pairs, beside the controls.

Everything a method may see is the context pairs; targets are only scored. Every table
carries the controls that tell personalization from common taste: the longer
completion, the population, and the same personal weights handed to the wrong user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.bench.targets import HeldOut
from personalrm.errors import BadInput, CorruptFile, NewerVersion, UnknownName
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.judging.embedded import EmbeddedJudge, fixed
from personalrm.judging.personal import usable_weights
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness
from personalrm.stats.derangements import derangements
from personalrm.stats.paired import Comparison, compare
from personalrm.stylometry.features import FloatArray, difference
from personalrm.stylometry.observations import IntArray, observe, row_pairs
from personalrm.stylometry.population import Population, Prior, estimate_population
from personalrm.stylometry.shipped import shipped_prior
from personalrm.stylometry.weights import fit_weights

N_DERANGEMENTS = 20
ALONE = "one user is no population: the shipped prior takes its place, and shuffled_user is left out"
METHODS: dict[str, str] = {
    "random": "a coin",
    "first": "the completion shown first, both orders averaged",
    "longer": "the longer completion",
    "population": "what everybody else prefers",
    "shuffled_user": "the personal weights of somebody else",
    "personal": "the embedded engine, MAP on all context pairs",
    "just_persona": "the persona alone",
    "just_demonstrations": "selected demonstrations alone",
    "persona_and_demonstrations": "both",
}
_VARIANTS: dict[str, Variant] = {
    "just_persona": "persona",
    "just_demonstrations": "demonstrations",
    "persona_and_demonstrations": "both",
}


@dataclass(frozen=True)
class Row:
    """One method of the table."""

    method: str
    accuracy: Accuracy
    against_population: Comparison | None = None
    """Paired with the population row; None for the population itself."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The table, and what it was measured on."""

    rows: tuple[Row, ...]
    correct: Mapping[str, FloatArray]
    """For each method the correctness of every target pair, shape `(targets,)`."""
    user_ids: tuple[str, ...]
    """The owner of every target pair."""
    n_context_pairs: int
    too_few: tuple[str, ...]
    without_target: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What limits the table, one sentence each."""

    def __getitem__(self, method: str) -> Row:
        return next(row for row in self.rows if row.method == method)


def evaluate(
    held_out: HeldOut,
    *,
    methods: Sequence[str] = tuple(METHODS),
    leave_out: str | None = None,
    seed: int = 0,
    settings: InductionSettings | None = None,
) -> Evaluation:
    """Accuracy of each method on the target pairs, both orders averaged.

    Args:
        held_out: What `hold_out` returned.
        methods: Which rows, see `METHODS`; `population` is always measured.
        leave_out: A `meta` column; rows of others that share the target's value are
            left out of its population (for data where people judge the same items).
        seed: Seed of the derangements, the bootstrap and the trials.
        settings: Of the induction rows.

    A single user has no population: the shipped prior takes its place, `shuffled_user` is
    left out, and a note says so.

    Raises:
        UnknownName: If a method or the column does not exist.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise UnknownName(f"unknown method {unknown[0]!r}; use some of {', '.join(METHODS)}")
    scorer = _Scorer(held_out, leave_out, settings or InductionSettings(seed=seed))
    is_alone = len(held_out.context) == 1
    wanted = [
        name for name in METHODS if name in (*methods, "population") and not (is_alone and name == "shuffled_user")
    ]
    correct = {name: scorer.correct(name) for name in wanted}
    rows = tuple(_row(name, correct, held_out.user_ids, seed) for name in wanted)
    return Evaluation(
        rows=rows,
        correct=correct,
        user_ids=tuple(held_out.user_ids),
        n_context_pairs=sum(len(user.pairs) for user in held_out.context.values()),
        too_few=held_out.too_few,
        without_target=held_out.without_target,
        notes=(ALONE,) if is_alone else (),
    )


def half_of(evaluation: Evaluation, keep: Callable[[str], bool]) -> Evaluation:
    """The same evaluation over some of the users only."""
    kept = np.array([keep(user_id) for user_id in evaluation.user_ids])
    if not kept.any():
        raise BadInput("no user is in this part of the data; evaluate all of them")
    user_ids = tuple(user_id for user_id, keeps in zip(evaluation.user_ids, kept, strict=True) if keeps)
    correct = {name: values[kept] for name, values in evaluation.correct.items()}
    rows = tuple(_row(name, correct, user_ids, 0) for name in correct)
    return replace(evaluation, rows=rows, correct=correct, user_ids=user_ids)


@dataclass(frozen=True, repr=False)
class SavedScores:
    """How saved prompts do on the targets of their users."""

    correct: FloatArray
    """Correctness of every target pair of a user whose prompt can be read, shape `(pairs,)`."""
    user_ids: tuple[str, ...]
    """The owner of each of these pairs."""
    unreadable: tuple[str, ...]
    """One sentence for each user left out because their prompt is damaged or newer."""


def score_prompts(held_out: HeldOut, load: Callable[[str], PersonalPrompt]) -> SavedScores:
    """Correctness of saved prompts on the targets.

    Raises:
        UnknownUser: If a user has no saved prompt.
        TargetLeak: If a prompt was made from one of its user's target pairs.
    """
    values: list[float] = []
    owners: list[str] = []
    unreadable: list[str] = []
    for user_id in held_out.context:
        try:
            prompt = load(user_id)
        except (CorruptFile, NewerVersion) as error:
            unreadable.append(f"user {user_id!r}: {error}")
            continue
        targets = [pair for pair in held_out.targets if pair.user_id == user_id]
        prompt.refuse_targets(targets)
        weights = usable_weights(prompt)
        values += correctness(weights.margin(_differences(targets))).tolist()
        owners += [user_id] * len(targets)
    return SavedScores(np.array(values), tuple(owners), tuple(unreadable))


@dataclass(frozen=True, repr=False)
class _Jobs:
    """One prior for each user, or for each user and left-out value; every target belongs to one."""

    users: tuple[str, ...]
    priors: tuple[Prior, ...]
    job_of_target: IntArray
    """Shape `(targets,)`."""


def _jobs(population: Population | None, held_out: HeldOut, leave_out: str | None) -> _Jobs:
    values = [_column(pair, leave_out) for pair in held_out.targets]
    keys = list(dict.fromkeys((pair.user_id, value) for pair, value in zip(held_out.targets, values, strict=True)))
    places = {key: place for place, key in enumerate(keys)}
    of_target = np.array([places[pair.user_id, value] for pair, value in zip(held_out.targets, values, strict=True)])
    if population is None:
        return _Jobs(tuple(user for user, _ in keys), (shipped_prior(),) * len(keys), of_target)
    priors = [population.prior_for(user_id) for user_id, _ in keys]
    if leave_out:
        in_context = np.array([_column(pair, leave_out) for pair in _rows_of(population, held_out)])
        means = population.means_without([user for user, _ in keys], [in_context == value for _, value in keys])
        priors = [replace(prior, mean=mean) for prior, mean in zip(priors, means, strict=True)]
    return _Jobs(tuple(user for user, _ in keys), tuple(priors), of_target)


def _rows_of(population: Population, held_out: HeldOut) -> list[PreferencePair]:
    """The context pair behind each row of the population."""
    return [pair for user_id in population.user_ids for pair in row_pairs(held_out.context[user_id].pairs)]


def _column(pair: PreferencePair, name: str | None) -> str:
    """The value of a `meta` column, as text; empty when none is asked for."""
    if name is None:
        return ""
    if name not in pair.meta:
        known = ", ".join(sorted(pair.meta)) or "none"
        raise UnknownName(f"pair {pair.id!r} of user {pair.user_id!r} has no column {name!r}; its columns: {known}")
    return str(pair.meta[name])


class _Scorer:
    """Fits what the rows need, each once, and scores every target pair."""

    def __init__(self, held_out: HeldOut, leave_out: str | None, settings: InductionSettings) -> None:
        self._held_out, self._settings = held_out, settings
        self._choices = {user.user_id: observe(user.pairs) for user in held_out.context.values()}
        population = estimate_population(self._choices) if len(self._choices) > 1 else None
        self._prior_for = population.prior_for if population else fixed(shipped_prior())
        self._jobs = _jobs(population, held_out, leave_out)
        self._x = _differences(held_out.targets) / self._jobs.priors[0].scale  # one scale for all

    def correct(self, method: str) -> FloatArray:
        """Correctness of every target pair under one method, shape `(targets,)`."""
        if method in ("random", "first"):
            return np.full(len(self._x), 0.5)
        if method == "longer":
            return correctness(np.array([len(p.chosen) - len(p.rejected) for p in self._held_out.targets], dtype=float))
        if method == "shuffled_user":
            return self._shuffled()
        return correctness(self._margins(self._means(method)))

    def _means(self, method: str) -> FloatArray:
        """The weights of every job under a method, shape `(jobs, features)`."""
        if method == "population":
            return np.array([prior.mean for prior in self._jobs.priors])
        if method == "personal":
            return self._personal(self._jobs.users, self._jobs.priors)
        return self._induced(_VARIANTS[method])

    def _margins(self, means: FloatArray) -> FloatArray:
        return np.asarray((self._x * means[self._jobs.job_of_target]).sum(axis=1))

    def _personal(self, users: Sequence[str], priors: Sequence[Prior]) -> FloatArray:
        """MAP weights on all context pairs, shape `(users, features)`."""
        return np.array([one.mean for one in fit_weights([self._choices[user] for user in users], priors)])

    def _induced(self, variant: Variant) -> FloatArray:
        """Weights that follow from an induced prompt, shape `(jobs, features)`."""
        engine = EmbeddedFit(self._prior_for, replace(self._settings, variant=variant))
        prompts = {prompt.user_id: prompt for prompt in engine.fit(self._held_out.context.values())}
        means = []
        for user_id, prior in zip(self._jobs.users, self._jobs.priors, strict=True):
            judge, prompt = EmbeddedJudge(fixed(prior)), prompts[user_id]
            means.append(judge.weigh(user_id, prompt.persona, prompt.demonstrations).mean)
        return np.array(means)

    def _shuffled(self) -> FloatArray:
        """Correctness under the personal weights of another user, mean of `N_DERANGEMENTS` derangements."""
        users = list(self._choices)
        weights = self._personal(users, [self._prior_for(user) for user in users])
        places = {user: place for place, user in enumerate(users)}
        owner = np.array([places[pair.user_id] for pair in self._held_out.targets])
        shuffles = derangements(len(users), N_DERANGEMENTS, seed=self._settings.seed)
        return np.asarray(
            np.mean([correctness((self._x * weights[shuffle[owner]]).sum(axis=1)) for shuffle in shuffles], axis=0)
        )


def _row(method: str, correct: Mapping[str, FloatArray], user_ids: Sequence[str], seed: int) -> Row:
    against = None if method == "population" else compare(correct[method], correct["population"], user_ids, seed=seed)
    return Row(method, mean_correctness(correct[method], user_ids, seed=seed), against)


def _differences(pairs: Sequence[PreferencePair]) -> FloatArray:
    """x(chosen) - x(rejected) of every pair, unscaled, shape `(pairs, features)`."""
    return np.array([difference(pair.conversation, pair.chosen, pair.rejected) for pair in pairs])


def in_development_half(user_id: str) -> bool:
    """Whether a user's targets may be looked at while features and defaults are designed (even first hash byte)."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0
