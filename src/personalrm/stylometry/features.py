"""The features: what the embedded engine sees of a completion.

Each feature is a number a person can check by eye; `feature_words.py` has the words for wanting more or less of it.
`read` turns one completion into all of them, in the order of `FEATURES`. Features that need English word lists are 0
for a pair unless both completions read as English; then only the language-neutral ones are used.

First come the measures: counts and shares of one text, by one pass over the characters'
patterns and one over the words. Word lists are the files in `words/`.
"""

from __future__ import annotations

import math
import re
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import get_args

import numpy as np

from personalrm.preferences.messages import Conversation
from personalrm.stats.arrays import BoolArray, FloatArray
from personalrm.stylometry.feature_words import FEATURES, INDEX, Needs


@dataclass(frozen=True)
class Mark:
    """A pattern to count; where none of its signs stands, the slow search is left out."""

    pattern: re.Pattern[str]
    signs: tuple[str, ...]

    def count(self, text: str) -> int:
        """How often it occurs in the text."""
        if not any(sign in text for sign in self.signs):
            return 0
        return len(self.pattern.findall(text))


WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"'”’)\]*]|$)|[。！？]+|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s)")
LIST_ITEM = re.compile(r"[ \t]*(?:[-*•–]|\d{1,2}[.)]|[a-h][.)])[ \t]+\S")
MARKUP = (
    Mark(re.compile(r"^[ \t]*#{1,6}[ \t]+\S|^[^\n.!?]{3,60}:[ \t]*$", re.MULTILINE), ("#", ":")),
    Mark(re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"), ("**", "__")),
    Mark(re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE), ("|",)),
    Mark(re.compile(r"```|`[^`\n]+`"), ("`",)),
)
"""Headings, bold, table rows, code."""
PARAGRAPH = Mark(re.compile(r"\n[ \t]*\n"), ("\n",))
URL = Mark(re.compile(r"https?://|www\.\w"), ("://", "www."))
EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b06-\u2b1b]|[:;]-?[)D]")
TYPED_EMOJI = Mark(re.compile("[:;]-?[)D]"), (":", ";"))
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NAME = re.compile(r"[A-Z](?<=[a-z,;] [A-Z])[a-z]+")
UNSPACED_SCRIPT = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f\u0e80-\u0eff\u1780-\u17ff]")
FIRST_PERSON = frozenset("i me my mine myself i'm i've i'd i'll".split())
SECOND_PERSON = frozenset("you your yours yourself you're you've you'll you'd".split())


@cache
def phrase_pattern(name: str) -> re.Pattern[str]:
    """A pattern that finds any phrase of `words/<name>.txt` in lower-case text.

    Phrases are gathered by their first letter, so that the search can skip to those letters.
    """
    rests: dict[str, list[str]] = {}
    for phrase in sorted(_lines(name), key=len, reverse=True):
        rests.setdefault(phrase[0], []).append(re.escape(phrase[1:]))
    initials = "[" + re.escape("".join(rests)) + "]"
    branches = "|".join(f"(?<={re.escape(first)})(?:{'|'.join(rest)})" for first, rest in rests.items())
    return re.compile(rf"{initials}(?<!\w{initials})(?:{branches})(?!\w)")


def _lines(name: str) -> list[str]:
    """The words or phrases of `words/<name>.txt`; lines that start with # are comments."""
    text = (files("personalrm.stylometry") / "words" / f"{name}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@cache
def word_kinds() -> dict[str, tuple[str, ...]]:
    """Word -> the lists it stands in."""
    kinds: dict[str, list[str]] = {}
    for name in ("function_words", "hedging", "warmth", "positive", "negative", "formal"):
        for word in {word for line in _lines(name) for word in line.split()}:
            kinds.setdefault(word, []).append(name)
    for name, words in (("first_person", FIRST_PERSON), ("second_person", SECOND_PERSON)):
        for word in words:
            kinds.setdefault(word, []).append(name)
    return {word: tuple(names) for word, names in kinds.items()}


def is_spaced(text: str) -> bool:
    """Whether words are separated by spaces (not so in Chinese, Japanese, Thai, ...)."""
    return not text or text.isascii() or 4 * len(UNSPACED_SCRIPT.findall(text)) < len(text)


def reads_as_english(words: Sequence[str], n_function_words: int) -> bool:
    """Whether the English word lists apply: enough function words, or too short to tell."""
    if len(words) < 6:
        return all(word.isascii() for word in words)
    return n_function_words >= 0.2 * len(words)


MEMORY_BYTES = 64 * 2**20
"""Of what is remembered of texts, the texts included: some 20,000 of a kilobyte, or 20 of a megabyte."""
BYTES_A_READING, BYTES_A_WORD = 900, 60
"""Measured with `sys.getsizeof`: a reading with its array, and each of its content words."""


_NEEDS = {need: np.array([feature.needs == need for feature in FEATURES]) for need in get_args(Needs)}
_EVERY = np.ones(len(FEATURES), dtype=bool)


@dataclass(frozen=True)
class TextReading:
    """One text as the engine reads it."""

    values: FloatArray
    """Shape `(features,)`; `echo` is filled in per conversation."""
    words: frozenset[str]
    """Its content words, for the overlap with the question."""
    is_spaced: bool
    is_english: bool


class _Memory:
    """Readings by text, of which those that were not asked for lately give way; several threads may use it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self.n_bytes = most_bytes, 0
        self._readings: OrderedDict[str, tuple[TextReading, int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, text: str) -> TextReading | None:
        with self._lock:
            if (kept := self._readings.get(text)) is None:
                return None
            self._readings.move_to_end(text)
            return kept[0]

    def keep(self, text: str, reading: TextReading) -> None:
        size = sys.getsizeof(text) + BYTES_A_READING + BYTES_A_WORD * len(reading.words)
        if size > self._most_bytes // 4:
            return  # one text must not push out all others
        with self._lock:
            if text in self._readings:
                return
            self._readings[text] = reading, size
            self.n_bytes += size
            while self.n_bytes > self._most_bytes:
                self.n_bytes -= self._readings.popitem(last=False)[1][1]


_MEMORY = _Memory(MEMORY_BYTES)


def read(text: str) -> TextReading:
    """All measures of one text, in the order of `FEATURES`; remembered by text."""
    reading = _MEMORY.find(text)
    if reading is None:
        reading = _read(text)
        _MEMORY.keep(text, reading)
    return reading


def _read(text: str) -> TextReading:
    lower = text.lower().replace("’", "'")
    words = WORD.findall(lower)  # digits are not words
    times = Counter(words)
    n_words, n_sentences = max(1, len(words)), max(1, len(SENTENCE_END.findall(text)))
    matches = ((line, LIST_ITEM.match(line)) for line in text.split("\n"))
    # Each line with the length of the list mark it opens with and the first letter after it, 0 without one.
    lines = [(line, match.end() if match else 0) for line, match in matches]
    outside_marks = "\n".join(line[start:] for line, start in lines)
    ending = text.rstrip()
    # Counts go in as log(1 + count): the tenth list item says less than the first.
    log1p = math.log1p
    language_neutral = [  # in the order of FEATURES
        log1p(len(text)),
        log1p(n_words / n_sentences),
        sum(map(len, words)) / n_words,
        len(times) / n_words**0.8,
        log1p(sum(start > 0 for _, start in lines)),
        log1p(sum(mark.count(text) for mark in MARKUP)),
        log1p(PARAGRAPH.count(text)),
        log1p(text.count("!") + text.count("！")),
        log1p(text.count("?") + text.count("？")),
        log1p(text.count("(") + text.count(" – ") + text.count("—") + text.count('"') / 2 + text.count("“")),
        log1p(len(NUMBER.findall(outside_marks))),
        log1p(TYPED_EMOJI.count(text) if text.isascii() else len(EMOJI.findall(text))),
        log1p(URL.count(text)),
        0.0,
        # Whether the text ends like a finished one rather than cut off.
        float(ending[-1:] in set(".!?…\"'”’)]*`|:。！？」』~") or EMOJI.search(ending[-2:]) is not None),
    ]

    kinds = word_kinds()
    counts: Counter[str] = Counter()  # words of each list
    for word in times.keys() & kinds.keys():
        for kind in kinds[word]:
            counts[kind] += times[word]

    def rate(count: float) -> float:
        return math.sqrt(count / n_words * 100.0)

    def phrases(name: str) -> int:
        return len(phrase_pattern(name).findall(lower))

    contractions = sum(lower.count(ending) for ending in ("n't", "'re", "'ll", "'ve"))
    by_word_lists = [
        rate(len(NAME.findall(text))),
        log1p(phrases("concrete_phrases")),
        rate(counts["hedging"] + 2 * phrases("hedging_phrases")),
        log1p(phrases("refusal_phrases")),
        rate(counts["first_person"] + phrases("opinion_phrases")),
        rate(counts["second_person"]),
        rate(counts["warmth"] + counts["positive"]) - rate(counts["negative"]),
        log1p(phrases("balance_phrases")),
        rate(counts["formal"]) - rate(contractions),
    ]
    content = frozenset(w for w in times if len(w) > 3 and "function_words" not in kinds.get(w, ()))
    is_english = reads_as_english(words, counts["function_words"])
    return TextReading(np.array(language_neutral + by_word_lists), content, is_spaced(text), is_english)


def echo(question: TextReading, completion: TextReading) -> float:
    """Share of the question's content words that come back in the completion."""
    return len(question.words & completion.words) / len(question.words) if question.words else 0.0


def difference(conversation: Conversation, chosen: str, rejected: str) -> FloatArray:
    """x(chosen) - x(rejected), shape `(features,)`; 0 where the text's language or script is not covered."""
    question = read(next(turn.content for turn in reversed(conversation) if turn.role == "user"))
    left, right = read(chosen), read(rejected)
    values = left.values - right.values
    values[INDEX["echo"]] = echo(question, left) - echo(question, right)
    values[~covered(left, right)] = 0.0
    return values


def covered(left: TextReading, right: TextReading) -> BoolArray:
    """Which features mean something for these two texts, shape `(features,)`."""
    if not (left.is_spaced and right.is_spaced):
        return _NEEDS["anything"]
    if not (left.is_english and right.is_english):
        return np.asarray(_NEEDS["anything"] | _NEEDS["spaced"])
    return _EVERY
