"""What the sentences of a persona say in terms of the features; no numpy, so that a prompt is shown quickly.

Reading needs only the sentence, so edits of a persona by hand count. People who edit a persona write "hates bullet
points" or "no more lists". A word such as these turns the phrase it governs around; where its reach is doubtful the
sentence is unclear, since to read a wish as its opposite is worse than not to use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.stylometry.feature_words import BY_NAME, FEATURES

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
LEAST_LEANING = 0.3
"""Distance from the population, in posterior standard deviations, from which a leaning is shown."""
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


@dataclass(frozen=True)
class Leaning:
    """One feature of a user that differs from the population."""

    feature: str
    shift: float
    """Weight minus the population's, in scaled units; the sign says more or less."""


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


def read_leanings(persona: Persona) -> list[Leaning]:
    """Everything a persona says in terms of the features; of several sentences about one, the last counts."""
    leanings = {leaning.feature: leaning for claim in persona.claims for leaning in read_claim(claim.text)}
    return list(leanings.values())


def strongest_leanings(prompt: PersonalPrompt, most: int = 3) -> list[str]:
    """What verdicts lean on where they differ from most people's, strongest first, in the words of a persona.

    Listed from `LEAST_LEANING` posterior standard deviations on: far too little for a sentence, and often chance,
    but it is what the weights hold, so whoever asks why a verdict fell should see it.
    """
    rows = [row for row in prompt.weights if row.sd > 0 and abs(row.mean - row.population) >= LEAST_LEANING * row.sd]
    rows.sort(key=lambda row: -abs(row.mean - row.population) / row.sd)
    words = [(BY_NAME[row.feature], row.mean > row.population) for row in rows[:most] if row.feature in BY_NAME]
    return [feature.more if wants_more else feature.less for feature, wants_more in words]


def unused_sentences(prompt: PersonalPrompt) -> list[str]:
    """Sentences of the persona that the embedded engine can make nothing of."""
    return [claim.text for claim in prompt.persona.claims if not read_claim(claim.text)]
