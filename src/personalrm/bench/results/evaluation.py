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

from personalrm.bench.methods.embedded import Engine
from personalrm.bench.methods.method import outcome_of
from personalrm.bench.methods.table import Tools, make_method
from personalrm.bench.methods.target_judgements import N_DERANGEMENTS, judge_shuffled, judge_targets
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput, CorruptFile, NewerVersion, UnknownName
from personalrm.induction.settings import InductionSettings
from personalrm.judging.personal import usable_weights
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness
from personalrm.stats.arrays import FloatArray
from personalrm.stats.paired import Comparison, compare
from personalrm.stylometry.features import difference

SHUFFLED = "shuffled_user"
ALONE = "one user is no population: the shipped prior takes its place, and shuffled_user is left out"
METHODS: dict[str, str] = {
    "random": "a coin",
    "first": "the completion shown first, both orders averaged",
    "longer": "the longer completion",
    "population": "what everybody else prefers",
    SHUFFLED: "the personal weights of somebody else",
    "personal": "the embedded engine, MAP on all context pairs",
    "just_persona": "the persona alone",
    "just_demonstrations": "selected demonstrations alone",
    "persona_and_demonstrations": "both",
}
"""Rows of this table: those of `bench.methods` that run without a model, and the control of `personal`."""


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
    tools = Tools(Engine(leave_out), settings=settings or InductionSettings(seed=seed))
    is_alone = len(held_out.context) == 1
    wanted = [name for name in METHODS if name in (*methods, "population") and not (is_alone and name == SHUFFLED)]
    correct = {name: _correct(name, held_out, tools) for name in wanted}
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


def _correct(name: str, held_out: HeldOut, tools: Tools) -> FloatArray:
    """Correctness of every target pair under one row, shape `(targets,)`; the control is a mean over derangements."""
    method = make_method("personal" if name == SHUFFLED else name, tools)
    method.learn(held_out, {})
    known = method.know(list(held_out.context.values()))
    draws = (
        judge_shuffled(method, known, held_out.targets, N_DERANGEMENTS, seed=tools.settings.seed)
        if name == SHUFFLED
        else [judge_targets(method, known, held_out.targets)]
    )
    return np.asarray(np.mean([correctness(outcome_of(draw).margins) for draw in draws], axis=0))


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
        rows = np.array([difference(pair.conversation, pair.chosen, pair.rejected) for pair in targets])
        values += correctness(weights.margin(rows)).tolist()
        owners += [user_id] * len(targets)
    return SavedScores(np.array(values), tuple(owners), tuple(unreadable))


def _row(method: str, correct: Mapping[str, FloatArray], user_ids: Sequence[str], seed: int) -> Row:
    against = None if method == "population" else compare(correct[method], correct["population"], user_ids, seed=seed)
    return Row(method, mean_correctness(correct[method], user_ids, seed=seed), against)


def in_development_half(user_id: str) -> bool:
    """Whether a user's targets may be looked at while features and defaults are designed (even first hash byte)."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0
