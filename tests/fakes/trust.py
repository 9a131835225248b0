"""Scripted models for what is asked about personas: do texts match, what do they say, is an answer safe.

They are not language models: each compares words, is right as often as its skill says, and
whatever shows their numbers must say that they follow a script.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from personalrm.prompts.delimiters import read_fields
from personalrm.testing.skill import Messages, Rule, Seen, share_of_pair, share_of_text, verdict_reply

STRONG = 0.3
"""Share of common words from which two texts match."""
TOPICS: Mapping[str, str] = {
    "plant-based, thrifty with nature: trains, repair, meadows and lentils": (
        r"lentil|bean|chickpea|vegetab|tofu|plant|meadow|wildflower|train|repair|mend|second-hand|darn|compost"
    ),
    "the cheap way: night buses, library books, exercise that costs nothing": (
        r"無料|安い|安く|節約|図書館|夜行バス|タダ|お金をかけ|百円|中古|円以下|自炊|ただで"
    ),
    "doing it oneself by hand, and learning how": (
        r"yourself|by hand|your own|sand(?:paper|ing)?|saw|chisel|screw|drill|sew|knead|whittle|bench|learn|practi[cs]e"
    ),
    "family and tradition before career and independence": (
        r"stay\b|sisters?\b|aunt|table|brothers|cousins|generation|belongs|carried|godparent|gown|keep the lunch"
        r"|answer the card|go home|deathbed"
    ),
    "why things are so: the mechanism behind the answer, not only what to do": (
        r"because|why|reason|since|so that|cause|means that|which is|due to|that's how"
    ),
}
"""What somebody may be after in the content of answers, and words that speak of it."""


def matching(skill: float) -> Rule:
    """Says whether two texts match by their common words; the opposite for the rest of a share."""

    def rule(messages: Messages) -> str:
        shown = messages[-1]["content"]
        first, second = (read_fields(shown, tag)[-1] for tag in ("first", "second"))
        follows = share_of_pair(first, second) < skill
        if '"answer"' in messages[0]["content"]:
            answer = "yes" if _is_match(first, second) == follows else "no"
            return json.dumps({"reasoning": "common words", "answer": answer})
        persona = read_fields(shown, "persona")[-1]
        is_first = _common(persona, first) >= _common(persona, second)
        return json.dumps({"reasoning": "common words", "choice": "first" if is_first == follows else "second"})

    return rule


def naming(skill: float, topics: Mapping[str, str] = TOPICS) -> Rule:
    """Writes personas that name the topic the chosen completions have over the rejected ones; judges by that topic.

    Args:
        skill: Share of personas and verdicts, fixed by a hash, that follow; other personas name another
            topic, other verdicts go the other way.
        topics: What can be named -> words that speak of it.
    """

    def rule(messages: Messages) -> str:
        seen = Seen.of(messages)
        if seen.asks_for_persona:
            return _persona(seen, skill, topics)
        named = [topic for topic in topics if topic in seen.persona] or [_leading(seen, topics)]
        votes = sum(_count(topics[topic], seen.first) - _count(topics[topic], seen.second) for topic in named)
        follows = share_of_pair(seen.first, seen.second) < skill
        return verdict_reply(seen, "first" if (votes > 0) == follows else "second", f"this person is after {named[0]}")

    return rule


def _persona(seen: Seen, skill: float, topics: Mapping[str, str]) -> str:
    topic = _leading(seen, topics)
    if share_of_text("\0".join("\0".join(shown) for shown in seen.demonstrations)) >= skill:
        topic = next(other for other in topics if other != topic)
    numbered = list(enumerate(seen.demonstrations, 1))
    gains = {n: _gain(shown, topics[topic]) for n, shown in numbered}
    claim = {
        "text": f"Wants answers about {topic}.",
        "supporting": [n for n, gain in gains.items() if gain > 0],
        "contradicting": [n for n, gain in gains.items() if gain < 0],
    }
    return json.dumps({"claims": [claim]})


def _leading(seen: Seen, topics: Mapping[str, str]) -> str:
    """The topic that most demonstrations' chosen completions have over the rejected ones; the first in doubt."""
    votes = {topic: sum(_sign(_gain(shown, words)) for shown in seen.demonstrations) for topic, words in topics.items()}
    return max(votes, key=lambda topic: votes[topic])


def _gain(demonstration: Sequence[str], words: str) -> int:
    first, second, choice = demonstration
    gain = _count(words, first) - _count(words, second)
    return gain if choice == "first" else -gain


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _count(words: str, text: str) -> int:
    return len(re.findall(words, text, re.IGNORECASE))


def _is_match(first: str, second: str) -> bool:
    return _common(first, second) >= STRONG


def _common(first: str, second: str) -> float:
    """Share of the words, and of the words that follow each other, that stand in both texts."""
    one, other = map(_words, (first, second))
    return len(one & other) / max(1, len(one | other))


def _words(text: str) -> set[str | tuple[str, str]]:
    words = re.findall(r"\w{4,}", text.lower())
    return {*words, *pairwise(words)}


def inducing() -> Rule:
    """Induces concepts by words: a persona's long words are its phrases, the commonest of a cluster its name."""

    def rule(messages: Messages) -> str:
        system, shown = messages[0]["content"], messages[-1]["content"]
        if '"phrases"' in system:
            found = re.findall(r"\w{5,}", read_fields(shown, "persona")[-1].lower())
            return json.dumps({"phrases": list(dict.fromkeys(found))})
        if '"name"' in system:
            counts = Counter(read_fields(shown, "first"))
            name = min(counts, key=lambda word: (-counts[word], word))
            return json.dumps({"name": name, "criterion": f"Does the description speak of {name}?"})
        named = re.findall(r"speak of (\w+)\?", system)
        says = bool(named) and named[-1] in read_fields(shown, "persona")[-1].lower()
        return json.dumps({"reasoning": "the word", "answer": "yes" if says else "no"})

    return rule
