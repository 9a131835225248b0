"""What the embedded engine's features are called, and how a persona says that somebody wants more or less of one.

How each is measured is in `features.py`, which needs numpy; what shows a saved prompt needs the words only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Needs = Literal["anything", "spaced", "english"]


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
