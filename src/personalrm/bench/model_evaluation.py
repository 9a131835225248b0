"""Evaluation of a language model as judge on held-out pairs, with and without what was learned of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.bench.methods.method import outcome_of
from personalrm.bench.methods.model import Inductions
from personalrm.bench.methods.table import Tools, make_method
from personalrm.bench.methods.target_judgements import judge_shuffled, judge_targets
from personalrm.bench.results.evaluation import SHUFFLED
from personalrm.datasets.targets import HeldOut
from personalrm.errors import UnknownName
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness, pairwise_accuracy
from personalrm.stats.arrays import FloatArray
from personalrm.stats.orders import OrderedOutcome
from personalrm.stats.paired import Comparison, compare

MODEL_METHODS: dict[str, str] = {
    "default": "the model, knowing nothing of the user",
    "shuffled_user": "the model with the persona and demonstrations of somebody else",
    "just_persona": "the model with the persona",
    "just_demonstrations": "the model with demonstrations chosen without a persona",
    "persona_and_demonstrations": "the model with both (SynthesizeMe)",
}


@dataclass(frozen=True)
class ModelRow:
    """One method of the table."""

    method: str
    accuracy: Accuracy
    position_consistency: float
    """Share of pairs on which both orders agree."""
    accuracy_orders: float
    """The paper's accuracy: mean over single orders."""
    against_default: Comparison | None = None


@dataclass(frozen=True, repr=False)
class ModelEvaluation:
    """The table, and who could not be learned."""

    rows: tuple[ModelRow, ...]
    margins: Mapping[str, FloatArray]
    """For each method P(chosen) - 0.5 of every target pair, NaN where unscored; shape `(targets,)`."""
    user_ids: tuple[str, ...]
    failed: Mapping[str, str]
    """Users whose induction failed, with the reason; they are judged knowing nothing."""

    def __getitem__(self, method: str) -> ModelRow:
        return next(row for row in self.rows if row.method == method)


def evaluate_model(
    held_out: HeldOut,
    judge: ModelJudge,
    *,
    methods: Sequence[str] = tuple(MODEL_METHODS),
    settings: InductionSettings | None = None,
    seed: int = 0,
    n_shuffles: int = 1,
) -> ModelEvaluation:
    """Accuracy of each method on the target pairs, every pair judged in both orders.

    Args:
        held_out: What `hold_out` returned.
        judge: Who induces and judges.
        methods: Which rows, see `MODEL_METHODS`; `default` is always measured.
        settings: Of the inductions.
        seed: Of the derangements and the bootstrap.
        n_shuffles: Derangements the shuffled-user row is the mean of; each costs a judgement of every target.

    Raises:
        UnknownName: If a method does not exist.
        ModelUnavailable: If the run was stopped.
    """
    unknown = [name for name in methods if name not in MODEL_METHODS]
    if unknown:
        raise UnknownName(f"unknown method {unknown[0]!r}; with a model use some of {', '.join(MODEL_METHODS)}")
    tools = Tools(judge=judge, settings=settings or InductionSettings(variant="both", seed=seed))
    tools = replace(tools, inductions=Inductions(judge, tools.settings))
    failed: dict[str, str] = {}
    wanted = [name for name in MODEL_METHODS if name in (*methods, "default")]
    outcomes = {name: _outcomes(name, held_out, tools, seed, n_shuffles, failed) for name in wanted}
    rows = tuple(_row(name, outcomes, held_out.user_ids, seed) for name in wanted)
    margins = {name: np.mean([outcome.margins for outcome in found], axis=0) for name, found in outcomes.items()}
    return ModelEvaluation(rows, margins, tuple(held_out.user_ids), failed)


def _outcomes(
    name: str, held_out: HeldOut, tools: Tools, seed: int, n_shuffles: int, failed: dict[str, str]
) -> list[OrderedOutcome]:
    """What a row says of the targets, once; for the shuffled users once a derangement."""
    is_control = name == SHUFFLED
    method = make_method("persona_and_demonstrations" if is_control else name, tools)
    known = method.know(list(held_out.context.values()))
    failed |= {one.user_id: one.note for one in known if one.note}
    draws = (
        judge_shuffled(method, known, held_out.targets, n_shuffles, seed=seed)
        if is_control
        else [judge_targets(method, known, held_out.targets)]
    )
    return [outcome_of(draw) for draw in draws]


def _row(method: str, outcomes: Mapping[str, Sequence[OrderedOutcome]], user_ids: Sequence[str], seed: int) -> ModelRow:
    found = outcomes[method]
    correct = np.mean([correctness(outcome.margins) for outcome in found], axis=0)
    accuracy = (
        pairwise_accuracy(found[0].margins, user_ids, seed=seed, n_half_scored=found[0].n_half_scored)
        if len(found) == 1
        else mean_correctness(correct, user_ids, seed=seed, n_unscored=int(max(o.unscored.sum() for o in found)))
    )
    against = None
    if method != "default":
        against = compare(correct, correctness(outcomes["default"][0].margins), user_ids, seed=seed)
    consistency = float(np.mean([outcome.position_consistency for outcome in found]))
    return ModelRow(method, accuracy, consistency, float(np.mean([o.accuracy_orders for o in found])), against)
