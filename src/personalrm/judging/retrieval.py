"""Which demonstrations to show for one question when all of them are too long."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Conversation

_WORD = re.compile(r"[^\W_]{3,}")


def nearest_demonstrations(
    conversation: Conversation, demonstrations: Sequence[Demonstration], max_characters: int
) -> tuple[Demonstration, ...]:
    """As many demonstrations as fit, those with the most similar conversations first, in their given order.

    Similarity is lexical: shared words, weighted by how rare they are among the
    demonstrations, over the length of both (cosine). Equally similar ones: the later
    first, since tastes change.
    """
    words = [_words(one.shown.pair.conversation) for one in demonstrations]
    n_with = Counter(word for counts in words for word in counts)
    asked = _words(conversation)
    likeness = [_cosine(asked, counts, n_with, len(words)) for counts in words]
    chosen, room = set(), max_characters
    for place in sorted(range(len(demonstrations)), key=lambda place: (-likeness[place], -place)):
        size = n_characters(demonstrations[place])
        if size <= room:
            chosen.add(place)
            room -= size
    return tuple(one for place, one in enumerate(demonstrations) if place in chosen)


def n_characters(demonstration: Demonstration) -> int:
    """Length of a demonstration in a prompt, tags aside."""
    pair = demonstration.shown.pair
    turns = sum(len(turn.content) for turn in pair.conversation)
    return turns + len(pair.chosen) + len(pair.rejected) + len(demonstration.reasoning or "")


def _words(conversation: Conversation) -> Counter[str]:
    return Counter(word for turn in conversation for word in _WORD.findall(turn.content.lower()))


def _cosine(left: Counter[str], right: Counter[str], n_with: Counter[str], n: int) -> float:
    vectors = [{word: times * _rarity(word, n_with, n) for word, times in one.items()} for one in (left, right)]
    shared = sum(vectors[0][word] * vectors[1][word] for word in left.keys() & right.keys())
    norms = [math.sqrt(sum(value**2 for value in vector.values())) for vector in vectors]
    return shared / (norms[0] * norms[1]) if shared else 0.0


def _rarity(word: str, n_with: Counter[str], n: int) -> float:
    return math.log((1 + n) / (1 + n_with[word])) + 1e-9
