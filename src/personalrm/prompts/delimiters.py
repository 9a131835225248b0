"""Tags that mark fields inside a prompt, and text that cannot forge them.

Any `<` that could open or close one of our tags gets a backslash run in front, and is
given back unchanged when the prompt is read. A conversation may contain our tags, our
template slots or anything else; it stays a field.
"""

from __future__ import annotations

import re

TAGS = (
    "persona",
    "demonstration",
    "conversation",
    "turn",
    "first",
    "second",
    "reasoning",
    "choice",
    "instruction",
    "summary",
)
_FORGED = re.compile(r"<(\\*)(?=/?(?:" + "|".join(TAGS) + r")\b)", re.IGNORECASE)
_NEUTRALIZED = re.compile(r"<\\(\\*)(?=/?(?:" + "|".join(TAGS) + r")\b)", re.IGNORECASE)


def neutralize(text: str) -> str:
    """The text with every tag of ours defused."""
    return _FORGED.sub(r"<\\\1", text)


def restore(text: str) -> str:
    """The text as it was before `neutralize`."""
    return _NEUTRALIZED.sub(r"<\1", text)


def field(tag: str, text: str, attribute: str = "") -> str:
    """A tagged field holding the text, defused."""
    return f"<{tag}{' ' + attribute if attribute else ''}>\n{neutralize(text)}\n</{tag}>"


def read_fields(text: str, tag: str) -> list[str]:
    """The contents of all fields of a tag, as they went in."""
    return [restore(content) for content in re.findall(rf"<{tag}(?: [a-z=\"]+)?>\n(.*?)\n</{tag}>", text, re.DOTALL)]
