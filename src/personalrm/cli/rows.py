"""Rows that `judge` and `rank` read: a conversation and completions, from a file or standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

from personalrm.errors import BadFile, BadRow
from personalrm.preferences.messages import ROLES, Conversation, Message, check_conversation
from personalrm.preferences.rows import Numbered, iter_lines, iter_rows


def rows_of(path: str) -> Iterator[Numbered]:
    """Line numbers with the row of each line, or what is wrong with it; `-` is standard input.

    Raises:
        BadFile: If the file cannot be read or is empty.
    """
    if path != "-":
        yield from iter_rows(path)
        return
    n_rows = 0
    try:
        for numbered in iter_lines(io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")):
            n_rows += 1
            yield numbered
    except UnicodeDecodeError:
        raise BadFile("standard input is not UTF-8; convert it") from None
    if not n_rows:
        raise BadFile("standard input is empty; write one JSON object a line")


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The row's conversation, from `conversation`, `prompt` or `context`.

    Raises:
        BadRow: If there is none, or a turn has a wrong role or content.
    """
    value = next((row[name] for name in ("conversation", "prompt", "context") if name in row), None)
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, list):
        raise BadRow("the row has no conversation; add `conversation` (a list of turns) or `prompt` (text)")
    return check_conversation([_message(turn) for turn in value])


def _message(turn: Any) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    if role not in ROLES or not isinstance(content, str):
        raise BadRow(f"a turn has role {role!r} or no text; use role {', '.join(ROLES)} and a content string")
    return Message(role, content)


def text_of(row: dict[str, Any], name: str) -> str:
    """A completion of the row: a string, or a message with content.

    Raises:
        BadRow: If it is missing or not text.
    """
    value = row.get(name)
    if isinstance(value, dict):
        value = value.get("content")
    if not isinstance(value, str):
        raise BadRow(f"{name} is missing or not text; write a string or {{role, content}}", field=name)
    return value


def completions_of(row: dict[str, Any]) -> list[str]:
    """The row's list of completions.

    Raises:
        BadRow: If it is missing, empty, or holds something else than text.
    """
    value = row.get("completions")
    if not isinstance(value, list) or not value:
        raise BadRow("the row has no completions; add a list with at least one text", field="completions")
    return [text_of({"completions": one}, "completions") for one in value]
