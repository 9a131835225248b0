"""Weights into sentences, and sentences back into weights.

A claim says that one feature of a user differs clearly from the population:
"Prefers clearly shorter answers than most people: 9 of 11 pairs." It is made when the
two-group posterior (half of all tastes are everybody's, the others drawn from Sigma)
puts the expected share of false claims of a persona at most at `FALSE_DISCOVERY_RATE`.
Reading back needs only the sentence, so a persona edited by hand is honoured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.preferences.personas import Claim, Persona
from personalrm.stylometry.features import BY_NAME, FEATURES, INDEX, FloatArray
from personalrm.stylometry.observations import Choices
from personalrm.stylometry.population import Prior
from personalrm.stylometry.weights import Weights

FALSE_DISCOVERY_RATE = 0.1
SHARED_TASTES = 0.5
"""Prior share of a user's weights that are the population's own."""
LEVELS: tuple[tuple[str, float], ...] = (("somewhat", 0.35), ("clearly", 0.8), ("far", 1.6))
"""Adverb and how far the weight lies from the population's, in scaled units."""
NOT_USED = "not used by this engine"
_NEGATION = re.compile(r"\b(?:not|never|no longer|hardly|neither|nor)\b|n't\b")
_ADVERB = re.compile(r"\b(" + "|".join(adverb for adverb, _ in LEVELS) + r")\b")


@dataclass(frozen=True)
class Leaning:
    """One feature of a user that differs from the population."""

    feature: str
    shift: float
    """Weight minus the population's, in scaled units; the sign says more or less."""


def find_leanings(weights: Weights, choices: Choices) -> list[Leaning]:
    """The features that differ clearly, most certain first, at a 10 % false-discovery rate.

    A leaning whose visible evidence speaks against it (more pairs contradict than
    support it) is left out: nobody would believe the sentence.
    """
    shift = weights.mean - weights.prior.mean
    doubt = _chance_of_being_false(shift, weights.sd**2, weights.prior.variance)
    order = np.argsort(doubt, kind="stable")
    running = np.cumsum(doubt[order]) / np.arange(1, len(order) + 1)
    n_claims = int((running <= FALSE_DISCOVERY_RATE).sum())
    leanings = [Leaning(FEATURES[place].name, float(shift[place])) for place in order[:n_claims]]
    return [leaning for leaning in leanings if _net_support(leaning, choices) > 0]


def write_persona(weights: Weights, choices: Choices) -> Persona:
    """The persona of these weights, each sentence with its evidence pairs."""
    claims = tuple(_claim(leaning, choices) for leaning in find_leanings(weights, choices))
    note = "" if claims else "Nothing in these choices differs clearly from what most people choose."
    return Persona(claims, note)


def read_claim(text: str) -> list[Leaning]:
    """What a sentence says in terms of the features; empty when it matches none, or denies.

    >>> read_claim("Prefers clearly shorter answers than most people: 9 of 11 pairs.")
    [Leaning(feature='length', shift=-0.8)]
    """
    sentence = text.casefold().replace("’", "'")
    if _NEGATION.search(sentence):
        return []
    adverb = _ADVERB.search(sentence)
    size = dict(LEVELS)[adverb.group(1)] if adverb else dict(LEVELS)["clearly"]
    found: dict[str, float] = {}
    for phrase, name, sign in _phrases():
        if re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", sentence):
            sentence = sentence.replace(phrase, " ")
            found.setdefault(name, sign * size)
    return [Leaning(name, shift) for name, shift in found.items()]


def read_persona(persona: Persona) -> tuple[list[Leaning], list[str]]:
    """Everything a persona says in terms of the features, and the sentences that say nothing of them."""
    leanings: dict[str, Leaning] = {}
    unused: list[str] = []
    for claim in persona.claims:
        read = read_claim(claim.text)
        leanings.update({leaning.feature: leaning for leaning in read})
        if not read:
            unused.append(claim.text)
    return list(leanings.values()), unused


def with_claims(prior: Prior, leanings: Sequence[Leaning]) -> Prior:
    """The prior with each claim in place of the population mean of its feature."""
    mean = prior.mean.copy()
    for leaning in leanings:
        mean[INDEX[leaning.feature]] = prior.mean[INDEX[leaning.feature]] + leaning.shift
    return replace(prior, mean=mean)


def _chance_of_being_false(shift: FloatArray, posterior: FloatArray, prior: FloatArray) -> FloatArray:
    """P(no difference, or one of the other sign) per feature, `(features,)`.

    Savage-Dickey: the Bayes factor for "no difference" is the posterior density there
    over the prior density, sqrt(prior / posterior) exp(-shift^2 / (2 posterior)).
    """
    log_factor = 0.5 * np.log(prior / posterior) - shift**2 / (2.0 * posterior)
    odds = SHARED_TASTES / (1.0 - SHARED_TASTES) * np.exp(np.clip(log_factor, -500.0, 500.0))
    null = odds / (1.0 + odds)
    wrong_sign = np.array([0.5 * math.erfc(value) for value in np.abs(shift) / np.sqrt(2.0 * posterior)])
    return np.asarray(null + (1.0 - null) * wrong_sign)


def _claim(leaning: Leaning, choices: Choices) -> Claim:
    supporting, contradicting = _evidence(leaning, choices)
    feature = BY_NAME[leaning.feature]
    wanted = feature.more if leaning.shift > 0 else feature.less
    adverb = min(LEVELS, key=lambda level: abs(math.log(level[1] / abs(leaning.shift))))[0]
    n_pairs = len(supporting) + len(contradicting)
    text = f"Prefers {adverb} {wanted} than most people: {len(supporting)} of {n_pairs} pairs."
    return Claim(text, supporting, contradicting)


def _evidence(leaning: Leaning, choices: Choices) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the pairs that agree with a leaning and of those that speak against it."""
    signed = choices.differences[:, INDEX[leaning.feature]] * np.sign(leaning.shift)
    ids = choices.pair_ids
    return (
        tuple(ids[row] for row in np.flatnonzero(signed > 0)),
        tuple(ids[row] for row in np.flatnonzero(signed < 0)),
    )


def _net_support(leaning: Leaning, choices: Choices) -> int:
    return int(np.sign(choices.differences[:, INDEX[leaning.feature]] * np.sign(leaning.shift)).sum())


def _phrases() -> list[tuple[str, str, float]]:
    """Every phrase that stands for a feature and a side, longest first."""
    phrases = [
        (phrase, feature.name, sign)
        for feature in FEATURES
        for sign, own, others in ((1.0, feature.more, feature.also_more), (-1.0, feature.less, feature.also_less))
        for phrase in (own, *others)
    ]
    return sorted(phrases, key=lambda item: -len(item[0]))
