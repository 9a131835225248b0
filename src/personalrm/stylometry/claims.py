"""Weights into sentences, and what sentences say back into weights; `sentences.py` reads them.

A claim says that one feature of a user differs clearly from the population:
"Prefers clearly shorter answers than most people: 9 of 11 pairs." Claims are made from
the posterior by expectation propagation, where the chance of a real difference is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from personalrm.preferences.personas import Claim, Persona
from personalrm.stats.arrays import BoolArray, FloatArray
from personalrm.stats.bradley_terry import ChoiceProblem, buckets
from personalrm.stats.expectation_propagation import moments
from personalrm.stylometry.feature_words import BY_NAME, FEATURES, INDEX
from personalrm.stylometry.observations import Choices
from personalrm.stylometry.population import Prior
from personalrm.stylometry.sentences import LEVELS, Leaning, read_claim

SHARED_TASTES = 0.5
"""Prior share of a user's weights that are the population's own."""
MOST_DOUBT = 0.37
"""A feature with a larger chance of not differing is not claimed."""


def find_leanings(
    choices: Sequence[Choices], priors: Sequence[Prior], *, most_doubt: float = MOST_DOUBT
) -> list[list[Leaning]]:
    """For each user the features that differ clearly, most certain first.

    A feature is claimed when the chance that it does not differ, or differs the other
    way, is at most `most_doubt` (by default `MOST_DOUBT`, measured precision:
    docs/measurements/personas.md). A leaning whose visible evidence speaks against it (more
    pairs contradict than support it) is left out: nobody would believe the sentence.
    """
    problems = [ChoiceProblem(c.differences / prior.scale, c.groups) for c, prior in zip(choices, priors, strict=True)]
    leanings: list[list[Leaning]] = [[] for _ in problems]
    for places, batch in buckets(problems):
        mean = np.array([priors[place].mean for place in places])
        variance = np.array([priors[place].variance for place in places])
        posterior = moments(batch, mean, variance)
        for place, shift, spread in zip(places, posterior.deviation, posterior.variance, strict=True):
            doubt = _doubt(shift, spread, priors[place].variance)  # (features,)
            for feature in np.argsort(doubt, kind="stable"):
                leaning = Leaning(FEATURES[feature].name, float(shift[feature]))
                agrees, disagrees = _sides([leaning], choices[place])
                if doubt[feature] <= most_doubt and agrees.sum() > disagrees.sum():
                    leanings[place].append(leaning)
    return leanings


def _doubt(shift: FloatArray, posterior: FloatArray, prior: FloatArray) -> FloatArray:
    """Chance that a feature's weight is the population's own or lies on its other side; all `(features,)`.

    Two groups: a share `SHARED_TASTES` of the weights is exactly the population's, the
    others are N(mu, v) with v such that both together have the prior variance. What the
    choices say of one feature is the posterior divided by the prior, a Gaussian of
    precision 1/posterior - 1/prior around shift / posterior / precision.
    """
    slab = prior / (1.0 - SHARED_TASTES)
    precision = np.maximum(1.0 / posterior - 1.0 / prior, 1e-9)
    location, noise = shift / posterior / precision, 1.0 / precision
    log_odds = np.log(1.0 / SHARED_TASTES - 1.0)
    log_odds += 0.5 * np.log(noise / (noise + slab)) + 0.5 * location**2 * (1.0 / noise - 1.0 / (noise + slab))
    differs = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -500.0, 500.0)))
    z = np.abs(location) * np.sqrt(slab / (noise * (noise + slab)))
    right_side = np.array([1.0 - 0.5 * math.erfc(value / math.sqrt(2.0)) for value in z])
    return np.asarray(1.0 - differs * right_side)


def _sides(leanings: Sequence[Leaning], choices: Choices) -> tuple[BoolArray, BoolArray]:
    """Which rows agree with at least one of the leanings and with none the other way round, and which speak against."""
    signs = np.array([np.sign(leaning.shift) for leaning in leanings])
    sides = np.sign(choices.differences[:, [INDEX[leaning.feature] for leaning in leanings]]) * signs  # (rows, said)
    disagrees = (sides < 0).any(axis=1)
    return (sides > 0).any(axis=1) & ~disagrees, disagrees


def _ids_of(leanings: Sequence[Leaning], choices: Choices) -> tuple[tuple[str, ...], ...]:
    """Ids of the pairs that agree with these leanings, and of those that speak against them."""
    return tuple(tuple(choices.pair_ids[row] for row in np.flatnonzero(rows)) for rows in _sides(leanings, choices))


def write_persona(leanings: Sequence[Leaning], choices: Choices) -> Persona:
    """The persona of these leanings, each sentence with its evidence pairs."""
    claims = tuple(write_claim(leaning, choices) for leaning in leanings)
    note = "" if claims else "Nothing in these choices differs clearly from what most people choose."
    return Persona(claims, note)


def link_claim(text: str, choices: Choices) -> Claim | None:
    """The sentence with the pairs that agree with it and those that speak against it; None when it matches no feature.

    A sentence about several features is supported by a pair that agrees with at least one of
    them and with none the other way round; pairs on which it says nothing are in neither list.
    """
    leanings = read_claim(text)
    return Claim(text, *_ids_of(leanings, choices)) if leanings else None


def with_claims(prior: Prior, leanings: Sequence[Leaning]) -> Prior:
    """The prior with each claim in place of the population mean of its feature."""
    mean = prior.mean.copy()
    for leaning in leanings:
        mean[INDEX[leaning.feature]] = prior.mean[INDEX[leaning.feature]] + leaning.shift
    return replace(prior, mean=mean)


def write_claim(leaning: Leaning, choices: Choices) -> Claim:
    """The sentence of a leaning, with the choices that speak for and against it."""
    supporting, contradicting = _ids_of([leaning], choices)
    feature = BY_NAME[leaning.feature]
    wanted = feature.more if leaning.shift > 0 else feature.less
    adverb = min(LEVELS, key=lambda level: abs(math.log(level[1] / abs(leaning.shift))))[0]
    n_pairs = len(supporting) + len(contradicting)
    text = f"Prefers {adverb} {wanted} than most people: {len(supporting)} of {n_pairs} pairs."
    return Claim(text, supporting, contradicting)
