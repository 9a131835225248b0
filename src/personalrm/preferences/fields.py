"""Fields of a row into the parts of a pair, each checked; what is wrong becomes a `BadRow`."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from personalrm.errors import BadRow
from personalrm.preferences.messages import ROLES, Conversation, Message
from personalrm.preferences.pairs import SplitName

SPLITS: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "target",
    "target": "target",
}
MILLISECONDS_FROM = 1e11
"""Epoch times above this are milliseconds; as seconds they would lie after the year 5000."""


def read_id(row: Mapping[str, Any], name: str) -> str:
    """An id as text, exactly as given.

    Raises:
        BadRow: If it is missing, blank, of a wrong type, or holds control characters.
    """
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _bad(name, "is missing" if value is None else f"is a {type(value).__name__}, not text")
    if not value.strip():
        raise _bad(name, "is blank")
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise _bad(name, "holds a control character")
    return value


def read_optional_id(row: Mapping[str, Any], name: str) -> str:
    """An id, or empty when the row has none."""
    return "" if row.get(name) in (None, "") else read_id(row, name)


def read_text(value: Any, name: str) -> str:
    """The text of a completion: a string, a message, a list of one message, or text parts.

    Raises:
        BadRow: If it is missing, blank or of another type.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]
    if isinstance(value, Mapping):
        if value.get("role", "assistant") != "assistant":
            raise _bad(name, f"has role {value.get('role')!r}, a completion is the assistant's")
        value = value.get("content")
    text = _content(value, name)
    if not text.strip():
        raise _bad(name, "is blank")
    return text


def read_conversation(value: Any, name: str) -> Conversation:
    """Turns from a list of messages, or one user turn from a string.

    Raises:
        BadRow: If it is missing, empty, or a turn has a wrong role or content.
    """
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, Sequence) or not value:
        raise _bad(name, "is missing or empty" if not value else f"is a {type(value).__name__}, not a list of turns")
    return tuple(read_message(turn, name) for turn in value)


def read_message(turn: Any, name: str) -> Message:
    """One turn.

    Raises:
        BadRow: If the role is unknown or missing, or the content is no text.
    """
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping):
        raise _bad(name, f"has a turn that is a {type(turn).__name__}, not {{role, content}}")
    if turn.get("role") not in ROLES:
        raise _bad(name, f"has a turn with role {turn.get('role')!r}; use {', '.join(ROLES)}")
    return Message(turn["role"], _content(turn.get("content"), name))


def read_timestamp(value: Any) -> float | None:
    """Seconds since 1970 from an ISO date, seconds or milliseconds; None when there is none.

    Raises:
        BadRow: If it is something else.
    """
    if value in (None, ""):
        return None
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _iso(value)
    if not math.isfinite(number):
        raise _bad("timestamp", "is not a finite number")
    return number / 1000.0 if abs(number) > MILLISECONDS_FROM else number


def _iso(value: Any) -> float:
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise _bad("timestamp", "is neither an ISO date nor seconds since 1970") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_order(value: Any) -> int | None:
    """An order index; None when there is none.

    Raises:
        BadRow: If it is no whole number.
    """
    if value in (None, ""):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not number.is_integer():
        raise _bad("order_index", "is not a whole number")
    return int(number)


def read_split(value: Any) -> SplitName | None:
    """A declared split; None when there is none.

    Raises:
        BadRow: If the name is unknown.
    """
    if value in (None, ""):
        return None
    if not isinstance(value, str) or value.lower() not in SPLITS:
        raise _bad("split", f"is {str(value)[:30]!r}; use train, validation or target")
    return SPLITS[value.lower()]


def read_rating(value: Any, name: str) -> float:
    """A finite rating.

    Raises:
        BadRow: If it is missing, NaN or no number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _bad(name, "is not a number") from None
    if not math.isfinite(number):
        raise _bad(name, "is not a finite number")
    return number


def _content(value: Any, name: str) -> str:
    """Text, or text parts joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [
            part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else None
            for part in value
        ]
        if all(isinstance(part, str) for part in parts):
            return "".join(str(part) for part in parts)
        raise _bad(name, "has a part that is not text")
    kind = "null" if value is None else f"a {type(value).__name__}"
    raise _bad(name, f"has content that is {kind}, not text" if value is not None else "is missing or null")


def _bad(name: str, what: str) -> BadRow:
    return BadRow(f"{name} {what}", field=name, rule=what.split(";", maxsplit=1)[0].split("'", maxsplit=1)[0].strip())
