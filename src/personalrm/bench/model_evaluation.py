"""Evaluation of a language model as judge on held-out pairs, with and without what was learned of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.bench.targets import HeldOut
from personalrm.errors import ModelUnavailable, UnknownName
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.induction.synthesize import synthesize
from personalrm.induction.waves import STOPPED, run_overlapping
from personalrm.judging.both_orders import judge_both_orders, question_about
from personalrm.judging.model import ModelJudge
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Question, Verdict
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness, pairwise_accuracy
from personalrm.stats.arrays import FloatArray
from personalrm.stats.derangements import derangements
from personalrm.stats.orders import OrderedOutcome, combine_orders
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
    learner = _Learner(held_out, judge, settings or InductionSettings(variant="both", seed=seed))
    wanted = [name for name in MODEL_METHODS if name in (*methods, "default")]
    outcomes = {
        name: [_judge(held_out, judge, known) for known in learner.known(name, seed, n_shuffles)] for name in wanted
    }
    rows = tuple(_row(name, outcomes, held_out.user_ids, seed) for name in wanted)
    margins = {name: np.mean([outcome.margins for outcome in found], axis=0) for name, found in outcomes.items()}
    return ModelEvaluation(rows, margins, tuple(held_out.user_ids), learner.failed)


class _Learner:
    """Induces what the rows need, each variant once."""

    def __init__(self, held_out: HeldOut, judge: ModelJudge, settings: InductionSettings) -> None:
        self._held_out, self._judge, self._settings = held_out, judge, settings
        self._prompts: dict[Variant, dict[str, PersonalPrompt]] = {}
        self.failed: dict[str, str] = {}

    def known(self, method: str, seed: int, n_shuffles: int) -> list[Callable[[str], PersonalPrompt]]:
        """What a method knows of each user; several times for the shuffled users."""
        if method == "default":
            return [nobody]
        if method == "just_demonstrations":
            return [self._of("demonstrations").__getitem__]
        both = self._of("both")
        if method == "just_persona":
            return [lambda user_id: replace(both[user_id], demonstrations=())]
        if method == "persona_and_demonstrations":
            return [both.__getitem__]
        users = list(both)
        shuffled: list[Callable[[str], PersonalPrompt]] = []
        for shuffle in derangements(len(users), n_shuffles, seed=seed):
            others = {
                user: replace(both[users[place]], user_id=user) for user, place in zip(users, shuffle, strict=True)
            }
            shuffled.append(others.__getitem__)
        return shuffled

    def _of(self, variant: Variant) -> dict[str, PersonalPrompt]:
        if variant not in self._prompts:
            self._prompts[variant] = self._induce(replace(self._settings, variant=variant))
        return self._prompts[variant]

    def _induce(self, settings: InductionSettings) -> dict[str, PersonalPrompt]:
        users = list(self._held_out.context.values())
        inductions = (synthesize(u.user_id, u.pairs, settings, judge=self._judge.name) for u in users)
        prompts = {user.user_id: nobody(user.user_id) for user in users}
        at_once = self._judge.caller.limits.max_in_flight
        for finished in run_overlapping(inductions, self._judge, users_at_once=at_once):
            user_id = users[finished.place].user_id
            if finished.prompt is not None:
                prompts[user_id] = finished.prompt
            elif finished.reason == STOPPED:
                raise self._judge.caller.stopped or ModelUnavailable("the run was stopped")
            else:
                self.failed[user_id] = finished.reason
        return prompts


def nobody(user_id: str) -> PersonalPrompt:
    """A prompt that knows nothing."""
    return PersonalPrompt(user_id, Persona())


def _judge(held_out: HeldOut, judge: ModelJudge, known: Callable[[str], PersonalPrompt]) -> OrderedOutcome:
    """Every target in both orders, as asked with the chosen completion first."""
    questions: list[Question] = [
        question_about(known(pair.user_id), pair.conversation, pair.chosen, pair.rejected) for pair in held_out.targets
    ]
    judged = judge_both_orders(judge, questions)
    return combine_orders(
        np.array([_chance(one.as_asked) for one in judged]), np.array([_chance(one.swapped) for one in judged])
    )


def _chance(verdict: Verdict) -> float:
    return float("nan") if verdict.probability is None else verdict.probability


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
