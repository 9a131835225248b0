"""A row as it comes from a file, before anybody knows its layout, and what makes one unusable."""

from __future__ import annotations

import json
from typing import Any

from personalrm.errors import BadRow
from personalrm.wording import kind_of

Row = dict[str, Any]
Numbered = tuple[int, Row | BadRow]
DEEPEST = 100
"""Levels of nesting beyond which a row is refused, so that no later step meets the limits of recursion."""


def checked(value: Any, number: int, text: str | None = None) -> Row | BadRow:
    """The row, unless it is no object, is nested too deep or holds what cannot be written to a file.

    Args:
        value: What was parsed.
        number: Its line.
        text: Where it was parsed from, if at hand; most texts show at a glance that there is nothing to check.
    """
    if not isinstance(value, dict):
        return BadRow(f"the row is {kind_of(value)}, not an object", line=number, rule="not an object")
    if (text is None or text.count("[") + text.count("{") > DEEPEST) and _is_deep(value):
        return too_deep(number)
    if text is None or "\\u" in text:  # in UTF-8 a lone surrogate can only come from an escape
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
        except UnicodeEncodeError:
            return BadRow("a text holds a lone surrogate", line=number, rule="lone surrogate")
    return value


def too_deep(number: int) -> BadRow:
    """The row of that line is nested too deep."""
    return BadRow(f"the row is nested more than {DEEPEST} levels deep", line=number, rule="nested too deep")


def _is_deep(value: Any) -> bool:
    """Whether lists and objects lie more than `DEEPEST` levels inside each other."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
