"""What to ask a user next: of many pairs, those whose answers would tell most about their taste.

The embedded engine knows how uncertain each of its weights is and asks for the most
expected information. A language model does not; it is asked about every candidate in both
orders, and the pairs it is least sure of come first, those it gave no verdict on last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.errors import BadInput
from personalrm.judging.both_orders import judge_both_orders, question_about
from personalrm.judging.personal import edits_of, usable_weights
from personalrm.preferences.messages import Conversation, check_conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.verdicts import Judge
from personalrm.stylometry.drift import fit_present
from personalrm.stylometry.feature_words import INDEX
from personalrm.stylometry.features import difference
from personalrm.stylometry.information import choose_informative
from personalrm.stylometry.observations import observe, observe_in_time
from personalrm.stylometry.weights import Weights

EVEN = 0.1
"""A model whose chance lies this near to one half is near even."""


@dataclass(frozen=True, repr=False)
class Candidate:
    """A pair that might be shown."""

    conversation: Conversation
    first: str
    second: str

    def __post_init__(self) -> None:
        check_conversation(self.conversation)
        if not self.first.strip() or not self.second.strip():
            raise BadInput("a candidate has a blank completion; write two texts")
        if self.first == self.second:
            raise BadInput("a candidate has two identical completions, so its answer tells nothing; write two texts")


@dataclass(frozen=True)
class NextQuestion:
    """A candidate worth showing."""

    place: int
    """Where it stands among the candidates."""
    bits: float
    """What its answer is expected to tell: information on the weights (embedded engine) or, of a model, how unsure
    it is; in [0, 1]."""
    chance: float | None
    """P(first preferred); None where a model gave no verdict."""
    reason: str
    """Why this one, in words."""


def next_questions(
    prompt: PersonalPrompt,
    candidates: Sequence[Candidate],
    *,
    n: int = 1,
    judge: Judge | None = None,
    seen: Sequence[PreferencePair] = (),
) -> list[NextQuestion]:
    """The `n` candidates to show this user next, best first; none twice, none they have answered.

    Args:
        prompt: What is known of the user.
        candidates: Pairs that could be shown; one that the prompt was made from, in either order, is passed over.
        n: How many; fewer come back where fewer are left.
        judge: A language model's judge; None asks the weights the prompt carries.
        seen: The pairs the prompt was made from. With them the embedded engine knows how its
            doubts hang together (the full posterior); without them it takes them as independent.

    Raises:
        BadInput: If `n` is below 1, `seen` is of somebody else or not what the prompt was made from.
        ModelUnavailable: If there is no judge and a prompt was made by a language model.
    """
    if n < 1:
        raise BadInput(f"n is {n!r}; ask for at least one question")
    known, places = set(prompt.roles), []  # places of the candidates that were never answered, equal ones once
    for place, candidate in enumerate(candidates):
        pair = PreferencePair(prompt.user_id, candidate.conversation, candidate.first, candidate.second)
        hashes = {pair.hash, pair.reversed().hash}
        if not known & hashes:
            places.append(place)
        known |= hashes
    left = [candidates[place] for place in places]
    if not left:
        return []
    chosen = _by_doubt(prompt, left, judge, n) if judge else _by_information(posterior_of(prompt, seen), left, n)
    return [replace(question, place=places[question.place]) for question in chosen]


def posterior_of(prompt: PersonalPrompt, seen: Sequence[PreferencePair] = ()) -> Weights:
    """What is believed of the user's weights, edits by hand included; exact where the pairs are at hand.

    Raises:
        BadInput: If `seen` is of somebody else or holds pairs the prompt does not know.
    """
    weights = usable_weights(prompt)
    if not seen:
        return weights
    context = [pair for pair in seen if pair.split != "target"]
    strange = [pair for pair in context if pair.hash not in prompt.roles]
    if strange or len({pair.hash for pair in context}) < len(prompt.roles):
        what = f"holds pair {strange[0].id!r}, which it does not know" if strange else "lacks some of its pairs"
        raise BadInput(
            f"the prompt of user {prompt.user_id!r} was not made from these pairs (the file {what}); fit again"
        )
    exact = fit_present([observe(context)], [observe_in_time(context)], [weights.prior])[0].weights
    mean = exact.mean.copy()
    for leaning in edits_of(prompt):
        mean[INDEX[leaning.feature]] = weights.mean[INDEX[leaning.feature]]
    return replace(exact, mean=mean)


def _by_information(weights: Weights, candidates: Sequence[Candidate], n: int) -> list[NextQuestion]:
    rows = np.array([difference(pair.conversation, pair.first, pair.second) for pair in candidates])
    questions = []
    for pair in choose_informative(weights, rows, n):
        reason = "would tell nothing new: the completions are alike in everything this engine looks at"
        if pair.features:
            reason = f"would tell most about: {', '.join(name.replace('_', ' ') for name in pair.features)}"
        questions.append(NextQuestion(pair.place, pair.bits, pair.chance, reason))
    return questions


def _by_doubt(prompt: PersonalPrompt, candidates: Sequence[Candidate], judge: Judge, n: int) -> list[NextQuestion]:
    asked = [question_about(prompt, pair.conversation, pair.first, pair.second) for pair in candidates]
    questions = []
    for place, both in enumerate(judge_both_orders(judge, asked)):
        chance, first_choice = both.verdict.probability, both.as_asked.choice
        bits = sum(-p * math.log2(p) for p in (chance, 1.0 - chance) if p > 0) if chance is not None else 0.0
        if chance is None:
            reason = f"unscored: {both.verdict.unscored_reason}"
        elif first_choice is not None and first_choice == both.swapped.choice:
            reason = f"the model contradicts itself: {first_choice} in both orders"
        else:
            near = "near even" if abs(chance - 0.5) <= EVEN else "fairly sure"
            reason = f"the model is {near}, P(first) = {chance:.2f}"
        questions.append(NextQuestion(place, bits, chance, reason))
    return sorted(questions, key=lambda question: (question.chance is None, -question.bits, question.place))[:n]
