"""How often a persona flips answers that taste must not decide (paper, "Ethical Considerations").

Forty questions of our own (`safety_items.jsonl`), half about facts, half about safety, each
with a right and a wrong answer; the right one is the shorter in 21 of them. Each is judged
in both orders without the user and with what is known of them. A flip is an item that is
right without the persona and not with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

from personalrm.errors import NoScoredPairs
from personalrm.judging.both_orders import judge_both_orders, question_about
from personalrm.judging.personal import prior_of, usable_weights
from personalrm.preferences.messages import Message
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.verdicts import Judge, Question
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import Interval, cluster, clustered_mean
from personalrm.stylometry.features import difference


@dataclass(frozen=True)
class SafetyItem:
    """A question whose answer is not a matter of taste."""

    id: str
    kind: Literal["fact", "safety"]
    question: str
    right: str
    wrong: str


@dataclass(frozen=True)
class FlipRow:
    """Items of one kind."""

    kind: str
    n_items: int
    n_users: int
    right_alone: float
    """Share of items that are right without a persona; a tie counts as not right."""
    right_with: float
    """Share of judgements that are right with one."""
    flipped: float
    """Share of judgements, among items right without a persona, that are not right with it."""
    interval: Interval
    """95 % interval of `flipped`, users resampled; NaN for a single user or without such an item."""
    righted: float
    """Share, among items not right without a persona, that are right with it; NaN without such an item."""
    n_unscored: int
    """Judgements without a verdict with or without the persona; in no share."""


@dataclass(frozen=True)
class Sycophancy:
    """The report on one set of personas."""

    judge: str
    rows: tuple[FlipRow, ...]
    """All items, then each kind."""


@cache
def safety_items() -> tuple[SafetyItem, ...]:
    """Our items, as they stand in the file."""
    text = (files("personalrm.bench") / "safety_items.jsonl").read_text(encoding="utf-8")
    return tuple(SafetyItem(**json.loads(line)) for line in text.splitlines())


def measure_flips(
    prompts: Sequence[PersonalPrompt],
    judge: Judge | None = None,
    *,
    items: Sequence[SafetyItem] | None = None,
    seed: int = 0,
) -> Sycophancy:
    """How often what is known of each user flips an item.

    Calls of a model: two an item, and two an item and user.

    Args:
        prompts: What is known of each user.
        judge: A language model's judge, guarded or not; None judges by the weights the prompts carry.
        items: Other items than ours.
        seed: Of the interval.

    Raises:
        NoScoredPairs: If there is no prompt, no item, or no verdict at all.
        ModelUnavailable: If there is no judge and a prompt carries no weights, or the run was stopped.
    """
    chosen = safety_items() if items is None else items
    if not prompts or not chosen:
        raise NoScoredPairs(
            f"{len(prompts)} personas and {len(chosen)} items leave nothing to judge; pass some of both"
        )
    alone, known = _by_weights(prompts, chosen) if judge is None else _by_judge(judge, prompts, chosen)
    if np.isnan(alone + known).all():
        raise NoScoredPairs(f"none of {known.size} judgements has a verdict, so flips are not measured")
    users = [prompt.user_id for prompt in prompts]
    kinds = dict.fromkeys(item.kind for item in chosen)
    masks = {"all": np.full(len(chosen), True)}
    masks |= {kind: np.array([item.kind == kind for item in chosen]) for kind in kinds}
    rows = [_flips(kind, alone[:, mask], known[:, mask], users, seed) for kind, mask in masks.items()]
    return Sycophancy("embedded" if judge is None else judge.name, tuple(rows))


def _by_weights(prompts: Sequence[PersonalPrompt], items: Sequence[SafetyItem]) -> tuple[FloatArray, FloatArray]:
    """Whether each item is right without and with each user, 1 or 0, both `(users, items)`."""
    x = np.array([difference(_asked(item), item.right, item.wrong) for item in items])
    alone = [x / (prior := prior_of(prompt)).scale @ prior.mean > 0 for prompt in prompts]
    known = [usable_weights(prompt).margin(x) > 0 for prompt in prompts]
    return np.array(alone, dtype=np.float64), np.array(known, dtype=np.float64)


def _by_judge(
    judge: Judge, prompts: Sequence[PersonalPrompt], items: Sequence[SafetyItem]
) -> tuple[FloatArray, FloatArray]:
    """The same by a model; NaN where neither order has a verdict. Without a user it is asked once for all."""
    questions = [Question("", _asked(item), item.right, item.wrong) for item in items]
    questions += [question_about(prompt, _asked(item), item.right, item.wrong) for prompt in prompts for item in items]
    verdicts = [both.verdict for both in judge_both_orders(judge, questions)]
    right = np.array([float(verdict.choice == "first") if verdict.is_scored else np.nan for verdict in verdicts])
    table = right.reshape(1 + len(prompts), len(items))
    return np.repeat(table[:1], len(prompts), axis=0), table[1:]


def _flips(kind: str, alone: FloatArray, known: FloatArray, users: Sequence[str], seed: int) -> FlipRow:
    scored = ~np.isnan(alone + known)
    was_right, was_wrong = scored & (alone == 1.0), scored & (alone == 0.0)
    owners = [user for user, row in zip(users, was_right, strict=True) for _ in range(int(row.sum()))]
    flips = 1.0 - known[was_right]
    mean = clustered_mean(cluster(flips, owners), seed=seed) if len(flips) else None
    nan = float("nan")
    return FlipRow(
        kind,
        alone.shape[1],
        len(users),
        float(alone[scored].mean()) if scored.any() else nan,
        float(known[scored].mean()) if scored.any() else nan,
        mean.micro if mean else nan,
        mean.micro_interval if mean else Interval(nan, nan),
        float(known[was_wrong].mean()) if was_wrong.any() else nan,
        int((~scored).sum()),
    )


def _asked(item: SafetyItem) -> tuple[Message, ...]:
    return (Message("user", item.question),)
