"""Weights into sentences, and sentences back into weights.

A claim says that one feature of a user differs clearly from the population:
"Prefers clearly shorter answers than most people: 9 of 11 pairs." Claims are made from
the posterior by expectation propagation, where the chance of a real difference is large.
Reading back needs only the sentence, so edits of a persona by hand count.

People who edit a persona write "hates bullet points" or "no more lists". A word such as
these turns the phrase it governs around; where its reach is doubtful the sentence is
unclear, since to read a wish as its opposite is worse than not to use it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.preferences.personas import Claim, Persona
from personalrm.stats.arrays import BoolArray, FloatArray
from personalrm.stats.bradley_terry import ChoiceProblem, buckets
from personalrm.stats.expectation_propagation import moments
from personalrm.stylometry.features import BY_NAME, FEATURES, INDEX
from personalrm.stylometry.observations import Choices
from personalrm.stylometry.population import Prior

UNUSABLE = re.compile(
    r"\b(?:not|cannot|(?:do|does|did|is|are|was|wo|ca|would)nt|never|no longer|no one|nobody|none|hardly|rarely|seldom"
    r"|barely|neither|nor|annoy\w*|bother\w*|irritat\w*|distract\w*|bor(?:es|ed|ing)|tiresome|bad|worse|terrible|awful"
    r"|horrible|ugly|useless|pointless|unnecessary|unwelcome|unwanted|excessive|disliked|hated|avoided|rejected)\b|n't\b"
)
"""Denials and complaints that may reach anywhere, so the whole sentence is unclear."""
_FRESH = re.compile(
    r"\b(?:prefer|like|love|want|enjoy|favou?r|appreciate|value)s?\b|\bplease\b|[.;:!?]|(?<!anything )\bbut\b"
)
"""Where what was said against earlier phrases ends."""
_AGAINST = re.compile(
    r"\b(?:(?P<verb>(?:dislik|hat|refus|despis|loath|oppos)(?:e|es|ing)"
    r"|(?:avoid|reject|detest|shun|skip|omit|drop)(?:s|ing)?|stop(?:s|ping)?|leaves? out|get rid of"
    r"|(?:averse|aversion) to|(?:tired|sick) of|fed up with)"
    r"|no|without|less|fewer|(?<!a )(?:few|little)|zero|minimal|(?:lack|absence) of"
    r"|too (?:many|much)|anything but|rather than|instead of|free of)\b"
)
"""Words against what follows: verbs reach over a whole clause, the others only over the next phrase."""
_FILLERS = re.compile(r"(?:\s+(?:any|all|of|the|those|these|such|so|many|much|very|overly|somewhat|clearly|far))*\s*")
_OWN_AMOUNT = re.compile(r"(?:no|more|fewer|less|\w+er)\b")
"""Beginning of a phrase that says itself how much is wanted."""


def _side(before: str, phrase: str, held: str) -> tuple[int, str]:
    """The side of a phrase, 1 wanted, -1 unwanted, 0 unclear, and the kind of word against it that may reach further.

    Args:
        before: The words between it and the phrase before.
        phrase: The phrase.
        held: The kind of word against the phrase before: `verb`, `word` or empty.
    """
    *earlier, clause = _FRESH.split(before)
    against = list(_AGAINST.finditer(clause))
    if len(against) > 1:
        return 0, ""
    kind = (against[0].lastgroup or "word") if against else "" if earlier else held
    if kind == "verb":
        side = 0 if "," in (clause[against[0].end() :] if against else clause) else -1
    elif against:
        between = clause[against[0].end() :]
        side = 1 if "," in between else -1 if _FILLERS.fullmatch(between) else 0
    elif kind:  # a word against the phrase before, as in `no emojis or bullet points`
        side = 1 if _OWN_AMOUNT.match(phrase) else -1 if clause.strip() == "or" else 0
    else:
        side = 1
    if side == 1:
        kind = "word" if phrase.startswith("no ") else ""
    return side, kind


SHARED_TASTES = 0.5
"""Prior share of a user's weights that are the population's own."""
MOST_DOUBT = 0.37
"""A feature with a larger chance of not differing is not claimed."""
LEVELS: tuple[tuple[str, float], ...] = (("somewhat", 0.1), ("clearly", 0.25), ("far", 0.7))
"""Adverb and how far the weight lies from the population's, in scaled units."""
NOT_USED = "not used by this engine"
_PAST = re.compile(r"; before that, .*", re.DOTALL)
"""What a sentence about a change of taste says of the past, which is not wanted any more."""
_ADVERB = re.compile(r"\b(" + "|".join(adverb for adverb, _ in LEVELS) + r")\b")
_MEANINGS = {
    phrase: (feature.name, sign)
    for feature in FEATURES
    for sign, shown, others in ((1.0, feature.more, feature.also_more), (-1.0, feature.less, feature.also_less))
    for phrase in (shown, *others)
}
"""Every phrase that stands for a feature and a side."""
_PHRASES = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(_MEANINGS, key=len, reverse=True)))})(?!\w)")
"""Any of them; where two begin together the longer one counts."""


@dataclass(frozen=True)
class Leaning:
    """One feature of a user that differs from the population."""

    feature: str
    shift: float
    """Weight minus the population's, in scaled units; the sign says more or less."""


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


def read_claim(text: str) -> list[Leaning]:
    """What a sentence says in terms of the features; empty when it matches none, is unclear or contradicts itself.

    The adverb nearest before a phrase says how much; words such as "hates" or "without" turn it around.

    >>> read_claim("Prefers clearly shorter answers than most people: 9 of 11 pairs.")
    [Leaning(feature='length', shift=-0.25)]
    """
    sentence = _PAST.sub("", text.casefold().replace("’", "'"))
    if UNUSABLE.search(sentence):
        return []
    sizes = dict(LEVELS)
    shifts: dict[str, float] = {}
    adverb, end, held = "clearly", 0, ""
    for match in _PHRASES.finditer(sentence):
        before = sentence[end : match.start()]  # the words between this phrase and the one before
        end = match.end()
        side, held = _side(before, match[0], held)
        adverb = (_ADVERB.findall(before) or [adverb])[-1]
        name, sign = _MEANINGS[match[0]]
        shift = sign * side * sizes[adverb]
        if shifts.setdefault(name, shift) * shift <= 0:
            return []
    return [Leaning(name, shift) for name, shift in shifts.items()]


def link_claim(text: str, choices: Choices) -> Claim | None:
    """The sentence with the pairs that agree with it and those that speak against it; None when it matches no feature.

    A sentence about several features is supported by a pair that agrees with at least one of
    them and with none the other way round; pairs on which it says nothing are in neither list.
    """
    leanings = read_claim(text)
    return Claim(text, *_ids_of(leanings, choices)) if leanings else None


def read_leanings(persona: Persona) -> list[Leaning]:
    """Everything a persona says in terms of the features; of several sentences about one, the last counts."""
    leanings = {leaning.feature: leaning for claim in persona.claims for leaning in read_claim(claim.text)}
    return list(leanings.values())


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
