"""What can be counted in a text: the raw measures behind the features.

One pass over the characters' patterns and one over the words. Everything here is a
count or a share of one text; what the counts mean for a reader is said in
`features.py`. Word lists are the files in `words/`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


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
def word_list(name: str) -> frozenset[str]:
    """The words of `words/<name>.txt`; lines that start with # are comments."""
    return frozenset(word for line in _lines(name) for word in line.split())


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
    text = (files("personalrm.stylometry") / "words" / f"{name}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@cache
def _word_kinds() -> dict[str, tuple[str, ...]]:
    """Word -> the lists it stands in."""
    kinds: dict[str, list[str]] = {}
    for name in ("function_words", "hedging", "warmth", "positive", "negative", "formal"):
        for word in word_list(name):
            kinds.setdefault(word, []).append(name)
    for name, words in (("first_person", FIRST_PERSON), ("second_person", SECOND_PERSON)):
        for word in words:
            kinds.setdefault(word, []).append(name)
    return {word: tuple(names) for word, names in kinds.items()}


def words_of(text: str) -> list[str]:
    """Lower-case words, apostrophes straightened; digits are not words."""
    return WORD.findall(text.lower().replace("’", "'"))


def count_words(words: Mapping[str, int]) -> Counter[str]:
    """How many words of each list stand in the text, from how often each word does."""
    kinds = _word_kinds()
    counts: Counter[str] = Counter()
    for word in words.keys() & kinds.keys():
        for kind in kinds[word]:
            counts[kind] += words[word]
    return counts


def content_words(words: Iterable[str]) -> frozenset[str]:
    """The words of more than three letters that are not function words."""
    return frozenset(word for word in words if len(word) > 3) - word_list("function_words")


def list_starts(text: str) -> list[tuple[str, int]]:
    """Each line with the length of the list mark it opens with and the first letter after it, 0 without one."""
    matches = ((line, LIST_ITEM.match(line)) for line in text.split("\n"))
    return [(line, match.end() if match else 0) for line, match in matches]


def count_emoji(text: str) -> int:
    """Emoji, and faces typed with a colon or a semicolon."""
    return TYPED_EMOJI.count(text) if text.isascii() else len(EMOJI.findall(text))


def is_spaced(text: str) -> bool:
    """Whether words are separated by spaces (not so in Chinese, Japanese, Thai, ...)."""
    return not text or text.isascii() or 4 * len(UNSPACED_SCRIPT.findall(text)) < len(text)


def reads_as_english(words: Sequence[str], n_function_words: int) -> bool:
    """Whether the English word lists apply: enough function words, or too short to tell."""
    if len(words) < 6:
        return all(word.isascii() for word in words)
    return n_function_words >= 0.2 * len(words)


def ends_complete(text: str) -> bool:
    """Whether the text ends like a finished one rather than cut off."""
    return text.rstrip()[-1:] in set(".!?…\"'”’)]*`|:。！？」』~") or EMOJI.search(text.rstrip()[-2:]) is not None


def log1p(count: float) -> float:
    """log(1 + count): the tenth list item says less than the first."""
    return math.log1p(count)
