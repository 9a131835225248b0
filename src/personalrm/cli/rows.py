"""Rows that `judge` and `rank` read: JSON lines with a conversation and completions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personalrm.errors import BadFile, BadRow
from personalrm.preferences.messages import ROLES, Conversation, Message, check_conversation


def iter_rows(path: str) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """Line numbers with the JSON object of each line, or what is wrong with it; `-` is standard input.

    Raises:
        BadFile: If the file cannot be read.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(
            f"{path!r} cannot be read ({type(error).__name__}); pass a JSONL file in UTF-8, or - for stdin"
        ) from None
    if not text.strip():
        raise BadFile(f"{path!r} is empty; write one JSON object a line")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parse(line, number)


def _parse(line: str, number: int) -> dict[str, Any] | BadRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return BadRow(f"line {number} is not JSON; write one object a line", line=number)
    if not isinstance(row, dict):
        return BadRow(f"line {number} is a {type(row).__name__}, not a JSON object", line=number)
    return row


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
