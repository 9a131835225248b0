"""Judging with a saved personal prompt, and ranking several completions: by its weights, or by a model.

A prompt made by the embedded engine carries its weights. If a person has edited the
persona since, the edits win: a sentence they removed takes its feature back to the
population, a sentence they added moves its feature to what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.errors import BadInput, ModelUnavailable
from personalrm.judging.both_orders import Ranking, ToRank, judge_both_orders, question_about, rank_with_judge, ranking
from personalrm.judging.embedded import MIN_CHOICES, give_verdict
from personalrm.preferences.messages import Conversation, check_conversation
from personalrm.preferences.personal_prompts import FeatureWeight, PersonalPrompt
from personalrm.preferences.verdicts import Judge, Question, Verdict
from personalrm.stylometry.feature_words import INDEX, NAMES
from personalrm.stylometry.features import difference
from personalrm.stylometry.population import Prior
from personalrm.stylometry.sentences import Leaning, read_claim
from personalrm.stylometry.weights import Weights


@dataclass(frozen=True, repr=False)
class ToJudge:
    """Two completions one user would choose between."""

    prompt: PersonalPrompt
    conversation: Conversation
    first: str
    second: str


def judge_pairs(items: Sequence[ToJudge], judge: Judge | None = None) -> list[Verdict]:
    """What each user prefers, position bias averaged out.

    Args:
        items: Who is to choose between what; all are asked at once.
        judge: A language model's judge; None judges by the weights the prompts carry.

    Raises:
        ModelUnavailable: If there is no judge and a prompt was made by a language model.
        BadRow: If a conversation cannot be answered.
    """
    if judge is None:
        verdicts = []
        for item in items:
            check_conversation(item.conversation)
            question = Question(item.prompt.user_id, item.conversation, item.first, item.second)
            verdict = give_verdict(usable_weights(item.prompt), question)
            verdicts.append(replace(verdict, too_few_pairs=item.prompt.too_few_pairs, positions_agree=True))
        return verdicts
    questions = [question_about(item.prompt, item.conversation, item.first, item.second) for item in items]
    return [
        replace(both.verdict, too_few_pairs=item.prompt.too_few_pairs)
        for item, both in zip(items, judge_both_orders(judge, questions), strict=True)
    ]


def judge_pair(
    prompt: PersonalPrompt, conversation: Conversation, first: str, second: str, judge: Judge | None = None
) -> Verdict:
    """`judge_pairs` for one pair."""
    return judge_pairs([ToJudge(prompt, conversation, first, second)], judge)[0]


def rank_completions(
    prompt: PersonalPrompt, conversation: Conversation, completions: Sequence[str], judge: Judge | None = None
) -> Ranking:
    """The completions ordered as this user would order them: by reward, or by a judge's comparisons (round robin).

    Raises:
        BadInput: If there is nothing to rank.
    """
    check_conversation(conversation)
    if not completions:
        raise BadInput("there are no completions to rank; pass at least one")
    if judge is not None:
        return rank_with_judge(judge, [ToRank(prompt, conversation, tuple(completions))])[0]
    weights = usable_weights(prompt)
    return ranking([float(weights.margin(difference(conversation, text, completions[0]))) for text in completions])


def pack_weights(weights: Weights) -> tuple[FeatureWeight, ...]:
    """The weights as they are saved in a personal prompt."""
    prior = weights.prior
    columns = (prior.scale, prior.mean, np.sqrt(prior.variance), weights.mean, weights.sd)
    return tuple(
        FeatureWeight(name, *map(float, row)) for name, row in zip(NAMES, zip(*columns, strict=True), strict=True)
    )


def prior_of(prompt: PersonalPrompt) -> Prior:
    """The prior a prompt's weights were learned under.

    Raises:
        ModelUnavailable: If a language model made the prompt.
        BadInput: If a feature's weight is missing.
    """
    rows = _weights_in_order(prompt)
    return Prior(
        scale=np.array([row.scale for row in rows]),
        mean=np.array([row.population for row in rows]),
        variance=np.array([row.spread**2 for row in rows]),
    )


def usable_weights(prompt: PersonalPrompt) -> Weights:
    """The weights a prompt carries, with edits of the persona by hand applied."""
    rows, prior = _weights_in_order(prompt), prior_of(prompt)
    mean = np.array([row.mean for row in rows])
    for leaning in edits_of(prompt):
        mean[INDEX[leaning.feature]] = prior.mean[INDEX[leaning.feature]] + leaning.shift
    n_choices = 0 if prompt.too_few_pairs else MIN_CHOICES
    return Weights(prior, mean, np.diag([row.sd**2 for row in rows]), n_choices)


def _weights_in_order(prompt: PersonalPrompt) -> list[FeatureWeight]:
    """A weight a feature, in the order of the features."""
    if not prompt.weights:
        raise ModelUnavailable(
            f"the prompt of user {prompt.user_id!r} was made by model {prompt.judge!r} and carries no weights; pass "
            "--model (lm=) to judge with a model, or fit the user again with the embedded engine"
        )
    by_name = {weight.feature: weight for weight in prompt.weights}
    missing = [name for name in NAMES if name not in by_name]
    if missing:
        raise BadInput(
            f"the prompt of user {prompt.user_id!r} lacks the weight of feature {missing[0]!r}; fit the user again"
        )
    return [by_name[name] for name in NAMES]


def edits_of(prompt: PersonalPrompt) -> list[Leaning]:
    """What edits by hand ask for: 0 for a feature whose sentence was removed, else what an added sentence says."""
    now = [claim.text for claim in prompt.persona.claims]
    removed = [leaning for text in prompt.written if text not in now for leaning in read_claim(text)]
    added = [leaning for text in now if text not in prompt.written for leaning in read_claim(text)]
    changes = {leaning.feature: Leaning(leaning.feature, 0.0) for leaning in removed}
    return list((changes | {leaning.feature: leaning for leaning in added}).values())
