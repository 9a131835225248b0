"""Three scripted models of different ability behind fake servers, for runs of the benchmark without a model.

They are not language models: each counts a few things in the texts it is shown, follows
what it finds with so much skill, and everything that shows their numbers must say so
(`scripted: true` in a run file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache

from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import Messages, Rule, Seen, share_of_pair, share_of_text, verdict_reply

_COUNTED: Mapping[str, str] = {
    "words": r"\w+",
    "list items": r"(?m)^\s*(?:[-*]|\d+[.)])\s",
    "numbers": r"\d+",
    "questions": r"\?",
    "exclamations": r"!",
    "contractions": r"\w['\u2019]\w",
    "hedges": r"(?i)\b(?:may|might|perhaps|possibly|could|probably|seems?)\b",
    "bold words": r"\*\*",
    "long words": r"\b\w{9,}\b",
    "words to the reader": r"(?i)\byou(?:r|rs)?\b",
    "words about itself": r"\b(?:I|I'm|my|me)\b",
}
"""What a text is looked through for, and the pattern of it."""
_TASTE = re.compile(rf"\b(more|fewer) ({'|'.join(_COUNTED)})\b")
Taste = tuple[str, str]
"""`more` or `fewer`, and of what."""
UNKNOWN: tuple[Taste, ...] = (("more", "words"),)
"""What is assumed of somebody unknown."""
MOST_TASTES = 3


def counting(skill: float, writing: float) -> Rule:
    """A judge that goes by what the persona names, and by what the shown choices have in common.

    Args:
        skill: Share of verdicts that follow, fixed by a hash of the pair; the others go the other way.
        writing: Share of personas, fixed by a hash of the choices, that say what was found; the others its opposite.
    """

    def rule(messages: Messages) -> str:
        seen = Seen.of(messages)
        if seen.asks_for_persona:
            described = _shared(seen.demonstrations) or _named(seen.persona) or list(UNKNOWN)
            if share_of_text("\0".join("\0".join(shown) for shown in seen.demonstrations)) >= writing:
                described = [("fewer" if more == "more" else "more", what) for more, what in described]
            return json.dumps({"claims": [_claim(taste, seen.demonstrations) for taste in described]})
        tastes = (*_named(seen.persona), *_shared(seen.demonstrations)) or UNKNOWN
        vote = sum(_likes(taste, seen.first, seen.second) for taste in tastes)
        vote = vote or sum(_likes(taste, seen.first, seen.second) for taste in UNKNOWN)
        follows = share_of_pair(seen.first, seen.second) < skill
        wanted = ", ".join(" ".join(taste) for taste in tastes)
        return verdict_reply(seen, "first" if (vote > 0) == follows else "second", f"this person wants {wanted}")

    return rule


def _likes(taste: Taste, first: str, second: str) -> int:
    """1 for the first, -1 for the second, 0 when both have as many."""
    more, what = taste
    a, b = _count(what, first), _count(what, second)
    return ((a > b) - (a < b)) * (1 if more == "more" else -1)


@lru_cache(maxsize=100_000)
def _count(what: str, text: str) -> int:
    return len(re.findall(_COUNTED[what], text))


def _shared(demonstrations: Sequence[tuple[str, str, str]]) -> list[Taste]:
    """The tastes that agree best with the choices, each with at least two thirds of them."""
    scores: dict[Taste, float] = {}
    for what in _COUNTED:
        agreed = [
            _likes(("more", what), first, second) * (1 if choice == "first" else -1)
            for first, second, choice in demonstrations
        ]
        scores["more" if sum(agreed) > 0 else "fewer", what] = abs(sum(agreed)) / max(1, len(agreed))
    best = sorted(scores, key=lambda taste: -scores[taste])[:MOST_TASTES]
    return [taste for taste in best if scores[taste] >= 1 / 3]


def _named(text: str) -> list[Taste]:
    """The tastes a text names most often."""
    named = [(more, what) for more, what in _TASTE.findall(text)]
    return sorted(dict.fromkeys(named), key=lambda taste: -named.count(taste))[:MOST_TASTES]


def _claim(taste: Taste, demonstrations: Sequence[tuple[str, str, str]]) -> dict[str, object]:
    signs = [
        _likes(taste, first, second) * (1 if choice == "first" else -1) for first, second, choice in demonstrations
    ]
    return {
        "text": f"Prefers answers with {' '.join(taste)}.",
        "supporting": [n for n, sign in enumerate(signs, 1) if sign > 0] or [1],
        "contradicting": [n for n, sign in enumerate(signs, 1) if sign < 0],
    }


THREE_MODELS: Mapping[str, Rule] = {
    "scripted-small": counting(0.65, 0.6),
    "scripted-medium": counting(0.8, 0.8),
    "scripted-large": counting(0.95, 1.0),
}
"""By label."""


@contextmanager
def served(rules: Mapping[str, Rule]) -> Iterator[dict[str, str]]:
    """A fake server for each rule; gives the base URLs by label."""
    with ExitStack() as servers:
        yield {label: servers.enter_context(FakeServer(rule)).url for label, rule in rules.items()}
