"""Fields of a row into the parts of a pair, each checked; what is wrong becomes a `BadRow`."""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from personalrm.errors import BadRow
from personalrm.preferences.messages import ROLES, Conversation, Message
from personalrm.preferences.pairs import SplitName
from personalrm.preferences.reading.columns import lookalike
from personalrm.preferences.reading.options import ReadOptions
from personalrm.wording import kind_of

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

NAME = re.compile(r"[A-Za-z0-9_.-]{1,30}")
"""What the name of a role or a split may look like; somebody's text has spaces or other letters."""


def read_id(row: Mapping[str, Any], name: str) -> str:
    """An id as text, exactly as given.

    Raises:
        BadRow: If it is missing, blank, of a wrong type, or holds control characters.
    """
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        advice = ""
        if meant := lookalike(name, row):
            option = f", or pass --user-column {shlex.quote(meant)}" if name == "user_id" else ""
            advice = f"; rename column {meant!r} to {name!r}{option}"
        elif name == "user_id" and name not in row:
            advice = "; add it, or pass --user-column or --default-user"
        raise _bad(name, f"is missing{advice}", "missing")
    if not isinstance(value, str):
        raise _bad(name, f"is {kind_of(value)}, not text", "wrong type")
    if not value.strip():
        raise _bad(name, "is blank", "blank")
    if not value.isprintable() and any(unicodedata.category(character) == "Cc" for character in value):
        raise _bad(name, "holds a control character", "control character")
    return value


def read_user(row: Mapping[str, Any], options: ReadOptions) -> str:
    """Whose row this is: the user column, else the default user.

    Raises:
        BadRow: If there is neither.
    """
    column = options.user_column or "user_id"
    if options.default_user is not None and row.get(column) is None:
        return options.default_user
    return read_id(row, column)


def read_optional_id(row: Mapping[str, Any], name: str) -> str:
    """An id, or empty when the row has none."""
    return "" if row.get(name) in (None, "") else read_id(row, name)


def read_text(value: Any, name: str) -> str:
    """The text of a completion: a string, a message, a list of one message, or text parts.

    Raises:
        BadRow: If it is missing, blank or of another type.
    """
    if isinstance(value, list) and any(isinstance(part, Mapping) and "role" in part for part in value):
        if len(value) > 1:
            raise _bad(
                name,
                f"is a list of {len(value)} messages, a completion is one; if they are the whole conversation, name "
                "--layout trl_implicit or drop the prompt column",
                "several messages",
            )
        value = value[0]
    if isinstance(value, Mapping):
        if value.get("role", "assistant") != "assistant":
            raise _bad(name, f"has role {_short(value['role'])}, a completion is the assistant's", "wrong role")
        value = value.get("content")
    text = _content(value, name)
    if not text.strip():
        raise _bad(name, "is blank", "blank")
    return text


def read_conversation(value: Any, name: str) -> Conversation:
    """Turns from a list of messages, or one user turn from a string.

    Raises:
        BadRow: If it is missing, empty, or a turn has a wrong role or content.
    """
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, Sequence) or not value:
        if not value:
            raise _bad(name, "is missing or empty", "missing")
        raise _bad(name, f"is {kind_of(value)}, not a list of turns", "wrong type")
    turns = []
    for turn in value:
        if isinstance(turn, Message):
            turns.append(turn)
            continue
        if not isinstance(turn, Mapping):
            raise _bad(name, f"has a turn that is {kind_of(turn)}, not {{role, content}}", "wrong type")
        role = turn.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise _bad(name, f"has a turn with role {_short(role)}; use {', '.join(ROLES)}", "unknown role")
        turns.append(Message(turn["role"], _content(turn.get("content"), name)))
    return tuple(turns)


def read_timestamp(value: Any) -> float | None:
    """Seconds since 1970 from an ISO date, seconds or milliseconds; None when there is none.

    Raises:
        BadRow: If it is something else.
    """
    if value in (None, ""):
        return None
    if isinstance(value, date):
        return _iso(value.isoformat())
    number = _number(value)
    if number is None:
        return _iso(value)
    if not math.isfinite(number):
        raise _bad("timestamp", "is not a finite number", "not finite")
    return number / 1000.0 if abs(number) > MILLISECONDS_FROM else number


def _iso(value: Any) -> float:
    """Seconds since 1970; a date without time zone is UTC, wherever the machine stands."""
    try:
        moment = datetime.fromisoformat(value.strip() if isinstance(value, str) else "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise _bad("timestamp", "is neither an ISO date nor seconds since 1970", "not a date") from None


def read_order(value: Any) -> int | None:
    """An order index; None when there is none.

    Raises:
        BadRow: If it is not a whole number.
    """
    if value in (None, ""):
        return None
    number = _number(value)
    if number is None or not number.is_integer():
        raise _bad("order_index", "is not a whole number", "not a whole number")
    return int(number)


def read_split(value: Any) -> SplitName | None:
    """A declared split; None when there is none.

    Raises:
        BadRow: If the name is unknown.
    """
    if value in (None, ""):
        return None
    if not isinstance(value, str) or value.lower() not in SPLITS:
        raise _bad("split", f"is {_short(value)}; use train, validation or target", "unknown split")
    return SPLITS[value.lower()]


def read_rating(value: Any, name: str) -> float:
    """A finite rating.

    Raises:
        BadRow: If it is missing, NaN or not a number.
    """
    number = _number(value)
    if number is None:
        raise _bad(name, "is not a number", "not a number")
    if not math.isfinite(number):
        raise _bad(name, "is not a finite number", "not finite")
    return number


def _number(value: Any) -> float | None:
    """The value as a number, infinite when it is too large for one; None when it is not a number."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


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
        raise _bad(name, "has a part that is not text", "part that is not text")
    if value is None:
        raise _bad(name, "is missing or null", "missing")
    raise _bad(name, f"has content that is {kind_of(value)}, not text", "wrong type")


def _short(value: Any) -> str:
    """What a wrong value is; written out only if it is a name, since it may be somebody's text in the wrong column."""
    if not isinstance(value, str):
        return "None" if value is None else kind_of(value)
    return repr(value) if NAME.fullmatch(value) else f"a text of {len(value)} characters"


def _bad(name: str, what: str, rule: str) -> BadRow:
    return BadRow(f"{name} {what}", field=name, rule=rule)
