"""What a sentence about a user says of the phrases in it: wanted, unwanted or unclear.

People who edit a persona write "hates bullet points" or "no more lists". A word such as
these turns the phrase it governs around; where its reach is doubtful the sentence is
unclear, since to read a wish as its opposite is worse than not to use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

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
class Mention:
    """A phrase in a sentence, with the side it is on."""

    phrase: str
    side: int
    """1 wanted, -1 unwanted, 0 unclear."""
    before: str
    """The words between it and the phrase before."""


def find_mentions(sentence: str, phrases: Sequence[str]) -> list[Mention]:
    """The phrases that a sentence in lower case mentions, in order; where two begin together the longer one counts."""
    longest_first = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))
    mentions: list[Mention] = []
    end, held = 0, ""
    for match in re.finditer(rf"(?<!\w)(?:{longest_first})(?!\w)", sentence):
        before = sentence[end : match.start()]
        side, held = _side(before, match[0], held)
        mentions.append(Mention(match[0], side, before))
        end = match.end()
    return mentions


def _side(before: str, phrase: str, held: str) -> tuple[int, str]:
    """The side of a phrase, and the kind of word against it (`verb` or `word`) that may reach further."""
    *earlier, clause = _FRESH.split(before)
    against = list(_AGAINST.finditer(clause))
    if len(against) > 1:
        return 0, ""
    if against:
        kind = against[0].lastgroup or "word"
        side = _side_after(kind, clause[against[0].end() :])
    elif held and not earlier:
        kind, side = held, _side_held(held, clause, phrase)
    else:
        kind, side = "", 1
    if side == 1:
        kind = "word" if phrase.startswith("no ") else ""
    return side, kind


def _side_after(kind: str, between: str) -> int:
    """The side of a phrase with a word against it in the same clause."""
    if kind == "verb":
        return 0 if "," in between else -1
    return 1 if "," in between else -1 if _FILLERS.fullmatch(between) else 0


def _side_held(kind: str, between: str, phrase: str) -> int:
    """The side of a phrase that follows one with a word against it, as in `hates emojis and bullet points`."""
    if kind == "verb":
        return 0 if "," in between else -1
    return 1 if _OWN_AMOUNT.match(phrase) else -1 if between.strip() == "or" else 0
