"""The embedded judge: a personal reward model that needs no language model.

It knows a user as a question shows them: the prior, with each claim of the persona
in place of the population mean of its feature, updated by the demonstrations
(MAP). It reads no order into a pair, so both orders always agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import PersonaQuestion, Question, Verdict, verdict_from_probability
from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.claims import find_leanings, with_claims, write_persona
from personalrm.stylometry.feature_words import FEATURES
from personalrm.stylometry.features import difference
from personalrm.stylometry.observations import Choices, observe
from personalrm.stylometry.population import Prior
from personalrm.stylometry.sentences import read_leanings
from personalrm.stylometry.weights import Weights, fit_weights, probability

MIN_CHOICES = 3
"""With fewer choices than this nothing personal can be said, and verdicts are flagged."""
N_FOR, N_AGAINST = 3, 1
"""Features named for and against a verdict: somebody reads the reason in one breath."""
LEAST_SHARE = 0.1
"""A feature below this share of the strongest one is not worth a word."""


class EmbeddedJudge:
    """Answers questions about users by stylometry; milliseconds for a whole wave.

    Args:
        prior_for: The prior of each user, learned from everybody else
            (`Population.prior_for`), or one prior for all (`lambda user_id: prior`).
    """

    name = "embedded"

    def __init__(self, prior_for: Callable[[str], Prior]) -> None:
        self._prior_for = prior_for

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question; questions that show the same user the same way share one fit."""
        # Told apart by the very objects they show, which costs nothing; the questions of one wave share them.
        keys = [(question.user_id, id(question.persona), id(question.demonstrations)) for question in questions]
        distinct = dict(zip(keys, questions, strict=True))
        known = [(question.user_id, question.persona, question.demonstrations) for question in distinct.values()]
        weights = dict(zip(distinct, self._fit(known), strict=True))
        return [give_verdict(weights[key], question) for key, question in zip(keys, questions, strict=True)]

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        """One persona a question, from the pairs shown in it."""
        seen = [_observe(question.demonstrations) for question in questions]
        leanings = find_leanings(seen, [self._prior_for(question.user_id) for question in questions])
        return [write_persona(of_user, choices) for of_user, choices in zip(leanings, seen, strict=True)]

    def weigh(self, user_id: str, persona: Persona | None, demonstrations: tuple[Demonstration, ...]) -> Weights:
        """The weights of a user known by a persona and demonstrations."""
        return self._fit([(user_id, persona, demonstrations)])[0]

    def _fit(self, known: Sequence[tuple[str, Persona | None, tuple[Demonstration, ...]]]) -> list[Weights]:
        """The weights of users, each known by id, persona and demonstrations."""
        priors = [
            with_claims(self._prior_for(user_id), read_leanings(persona) if persona else [])
            for user_id, persona, _ in known
        ]
        return fit_weights([_observe(demonstrations) for *_, demonstrations in known], priors)


def fixed(prior: Prior) -> Callable[[str], Prior]:
    """The same prior for everybody."""
    return lambda user_id: prior


def give_verdict(weights: Weights, question: Question) -> Verdict:
    """The verdict of these weights on a question, with its reason."""
    x = difference(question.conversation, question.first, question.second)
    reasoning = give_reason(weights.mean / weights.prior.scale, x)
    chance = float(probability(weights.margin(x)))
    return verdict_from_probability(chance, reasoning, too_few_pairs=weights.n_choices < MIN_CHOICES)


def give_reason(weight: FloatArray, x: FloatArray) -> str:
    """A sentence with the features that decide a pair, strongest first, and the strongest that speaks against.

    Args:
        weight: Shape `(features,)`, of unscaled features.
        x: Shape `(features,)`, features of the first completion less those of the second, unscaled.
    """
    contributions = weight * x  # (features,)
    margin = float(contributions.sum())
    if margin == 0.0:
        return "The two completions are alike in everything this engine looks at."
    winner, sign = ("first", 1.0) if margin > 0 else ("second", -1.0)
    toward = contributions * sign
    size = np.abs(toward)
    order = np.argsort(-size, kind="stable")
    worth = order[size[order] >= LEAST_SHARE * size.max()].tolist()
    favoring = [_how(place, sign * x[place]) for place in worth if toward[place] > 0][:N_FOR]
    against = [_how(place, sign * x[place]) for place in worth if toward[place] < 0][:N_AGAINST]
    *others, last = favoring
    qualities = f"{', '.join(others)} and {last}" if others else last
    reason = f"The {winner} completion suits this user better, for its {qualities}"
    return f"{reason}; against it: {against[0]}." if against else f"{reason}."


def _how(place: int, x: float) -> str:
    """How a completion differs from the other in one feature, such as `shorter sentences`."""
    words = FEATURES[place].more if x > 0 else FEATURES[place].less
    return words.replace(" answers", " answer")


def _observe(demonstrations: Sequence[Demonstration]) -> Choices:
    return observe([demonstration.shown.pair for demonstration in demonstrations])
