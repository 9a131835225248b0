"""The features: what the embedded engine sees of a completion, and how it says it.

Each feature is a number a person can check by eye, with words for wanting more of it
and less of it. `vector` turns one completion into all of them, in the order of
`FEATURES`. Features that need English word lists are 0 for a pair unless both
completions read as English; then only the language-neutral ones are used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from personalrm.preferences.messages import Conversation
from personalrm.stylometry import measures as m

Needs = Literal["anything", "spaced", "english"]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MEMORY = 65_536
"""Texts whose features are remembered; about 0.4 KB each."""


@dataclass(frozen=True)
class Feature:
    """One interpretable property of a completion."""

    name: str
    """Short name, also the key in saved weights."""
    more: str
    """What somebody likes who wants more of it, as it stands after "Prefers clearly ..."."""
    less: str
    """What somebody likes who wants less of it."""
    needs: Needs = "anything"
    """`anything`, `spaced` (a script with spaces between words) or `english` (the word lists)."""
    also_more: tuple[str, ...] = ()
    """Other phrases that mean `more` when a person writes the persona by hand."""
    also_less: tuple[str, ...] = ()
    """Other phrases that mean `less`."""


FEATURES: tuple[Feature, ...] = (
    Feature(
        "length",
        "longer answers",
        "shorter answers",
        also_more=("long answers", "detailed answers", "more detail", "in depth"),
        also_less=("short answers", "brief answers", "concise", "to the point", "brevity"),
    ),
    Feature(
        "sentence_length",
        "longer sentences",
        "shorter sentences",
        "spaced",
        also_more=("long sentences",),
        also_less=("short sentences",),
    ),
    Feature(
        "word_length",
        "longer words",
        "plainer words",
        "spaced",
        also_more=("learned words", "academic language"),
        also_less=("shorter words", "plain language", "simple language", "simple words", "everyday words"),
    ),
    Feature("variety", "richer vocabulary", "plainer vocabulary", "spaced", also_more=("varied vocabulary",)),
    Feature(
        "lists",
        "more lists",
        "fewer lists",
        also_more=("bullet points", "bulleted", "numbered lists"),
        also_less=("running text", "no lists"),
    ),
    Feature(
        "layout",
        "more headings, bold type and code",
        "fewer headings, bold type and code",
        also_more=("headings", "bold type"),
        also_less=("no headings", "less formatting"),
    ),
    Feature("paragraphs", "more paragraph breaks", "fewer paragraph breaks", also_more=("short paragraphs",)),
    Feature(
        "exclamations",
        "more exclamation marks",
        "fewer exclamation marks",
        also_more=("exclamation marks",),
        also_less=("no exclamation marks",),
    ),
    Feature(
        "questions",
        "more questions back",
        "fewer questions back",
        also_more=("questions back", "clarifying questions"),
        also_less=("no questions",),
    ),
    Feature("asides", "more brackets, dashes and quotation marks", "fewer brackets, dashes and quotation marks"),
    Feature(
        "numbers",
        "more numbers",
        "fewer numbers",
        also_more=("concrete figures", "figures and numbers", "precise figures"),
        also_less=("no numbers",),
    ),
    Feature("emoji", "more emoji", "fewer emoji", also_more=("emojis",), also_less=("no emoji", "no emojis")),
    Feature("links", "more links", "fewer links"),
    Feature("echo", "closer echoes of the question's words", "fewer echoes of the question's words", "spaced"),
    Feature("complete", "more finished endings", "more open endings"),
    Feature("names", "more names", "fewer names", "english"),
    Feature(
        "examples", "more examples", "fewer examples", "english", also_more=("examples",), also_less=("no examples",)
    ),
    Feature(
        "hedging",
        "more cautious wording",
        "less hedged wording",
        "english",
        also_more=("hedging", "cautious"),
        also_less=("no hedging", "less hedging", "takes a stand", "plain statements"),
    ),
    Feature(
        "refusals",
        "more disclaimers and refusals",
        "fewer disclaimers and refusals",
        "english",
        also_more=("disclaimers",),
        also_less=("no disclaimers", "fewer disclaimers"),
    ),
    Feature(
        "first_person",
        "more first person and opinion",
        "less first person and opinion",
        "english",
        also_more=("own opinions",),
        also_less=("no opinions",),
    ),
    Feature("second_person", "more direct address", "less direct address", "english"),
    Feature(
        "warmth",
        "warmer, more positive wording",
        "cooler, more sober wording",
        "english",
        also_more=("warm", "kind tone", "friendly tone"),
        also_less=("sober", "matter-of-fact"),
    ),
    Feature(
        "balance",
        "more weighing of sides",
        "less weighing of sides",
        "english",
        also_more=("both sides", "balanced"),
        also_less=("one side",),
    ),
    Feature(
        "formality",
        "more formal wording",
        "less formal wording",
        "english",
        also_more=("formal tone",),
        also_less=("casual", "informal", "colloquial"),
    ),
)
NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
INDEX: dict[str, int] = {name: place for place, name in enumerate(NAMES)}
BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}
_NEEDS = {need: np.array([feature.needs == need for feature in FEATURES]) for need in get_args(Needs)}
_EVERY = np.ones(len(FEATURES), dtype=bool)


@dataclass(frozen=True)
class Reading:
    """One text as the engine reads it."""

    values: FloatArray
    """Shape `(features,)`; `echo` is filled in per conversation."""
    words: frozenset[str]
    """Its content words, for the overlap with the question."""
    is_spaced: bool
    is_english: bool


@lru_cache(maxsize=MEMORY)
def read(text: str) -> Reading:
    """All measures of one text, remembered by text."""
    words = m.words_of(text)
    times = Counter(words)
    counts = m.count_words(times)
    values = np.array(_surface(text, words, len(times)) + _tone(text, counts, max(1, len(words))))
    is_english = m.reads_as_english(words, counts["function_words"])
    return Reading(values, m.content_words(times), m.is_spaced(text), is_english)


def _surface(text: str, words: Sequence[str], n_different: int) -> list[float]:
    """The language-neutral features, in the order of FEATURES."""
    n_words, n_sentences = max(1, len(words)), max(1, len(m.SENTENCE_END.findall(text)))
    lines = m.list_starts(text)
    outside_marks = "\n".join(line[start:] for line, start in lines)
    return [
        m.log1p(len(text)),
        m.log1p(n_words / n_sentences),
        sum(map(len, words)) / n_words,
        n_different / n_words**0.8,
        m.log1p(sum(start > 0 for _, start in lines)),
        m.log1p(sum(mark.count(text) for mark in m.MARKUP)),
        m.log1p(m.PARAGRAPH.count(text)),
        m.log1p(text.count("!") + text.count("！")),
        m.log1p(text.count("?") + text.count("？")),
        m.log1p(text.count("(") + text.count(" – ") + text.count("—") + text.count('"') / 2 + text.count("“")),
        m.log1p(len(m.NUMBER.findall(outside_marks))),
        m.log1p(m.count_emoji(text)),
        m.log1p(m.URL.count(text)),
        0.0,
        float(m.ends_complete(text)),
    ]


def _tone(text: str, counts: Counter[str], n_words: int) -> list[float]:
    """The features that need English word lists, in the order of FEATURES."""
    lower = text.lower().replace("’", "'")

    def rate(count: float) -> float:
        return math.sqrt(count / n_words * 100.0)

    def phrases(name: str) -> int:
        return len(m.phrase_pattern(name).findall(lower))

    contractions = sum(lower.count(ending) for ending in ("n't", "'re", "'ll", "'ve"))
    return [
        rate(len(m.NAME.findall(text))),
        m.log1p(phrases("concrete_phrases")),
        rate(counts["hedging"] + 2 * phrases("hedging_phrases")),
        m.log1p(phrases("refusal_phrases")),
        rate(counts["first_person"] + phrases("opinion_phrases")),
        rate(counts["second_person"]),
        rate(counts["warmth"] + counts["positive"]) - rate(counts["negative"]),
        m.log1p(phrases("balance_phrases")),
        rate(counts["formal"]) - rate(contractions),
    ]


def echo(question: Reading, completion: Reading) -> float:
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


def covered(left: Reading, right: Reading) -> BoolArray:
    """Which features mean something for these two texts, shape `(features,)`."""
    if not (left.is_spaced and right.is_spaced):
        return _NEEDS["anything"]
    if not (left.is_english and right.is_english):
        return np.asarray(_NEEDS["anything"] | _NEEDS["spaced"])
    return _EVERY
