"""Rows that `judge`, `rank`, `score` and `ask` read: a conversation and completions, from a file or standard input.

Fields are read as `fit` reads them, so a row that one accepts the other accepts too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from personalrm.errors import BadInput, BadRow
from personalrm.preferences.messages import Conversation, check_conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.fields import read_id, read_text
from personalrm.preferences.reading.layouts import find_layout, read_first_conversation, read_implicit, read_own
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rows import Row, iter_rows

Item = TypeVar("Item")


def read_rows(path: str, read: Callable[[Row], Item]) -> tuple[list[tuple[int, Item]], list[str]]:
    """What is read from each row, with the number of its line, and a sentence for each bad row.

    Raises:
        BadFile: If the file cannot be read or is empty.
    """
    items: list[tuple[int, Item]] = []
    bad: list[str] = []
    for number, row in iter_rows(path):
        try:
            if isinstance(row, BadRow):
                raise row
            items.append((number, read(row)))
        except BadInput as error:
            bad.append(f"{path} line {number}: {error}")
    return items, bad


def user_of(row: Row, user: str | None) -> str:
    """The user named for all rows, else the row's own.

    Raises:
        BadRow: If there is neither.
    """
    if user is None and row.get("user_id") is None:
        raise BadRow("user_id is missing; add it to the row or pass --user", field="user_id", rule="missing")
    return read_id(row, "user_id") if user is None else user


def pair_of(row: Row, user_id: str) -> PreferencePair:
    """A row with `chosen` and `rejected` as the pair that `fit` would read.

    Raises:
        BadRow: If `fit` would refuse it too.
    """
    read = read_implicit if find_layout(row) == "trl_implicit" else read_own
    return read(row | {"user_id": user_id}, ReadOptions())[0]


def conversation_of(row: Row) -> Conversation:
    """The row's conversation, from the first of `conversation`, `prompt` and `context` that says something.

    Raises:
        BadRow: If there is none, or a turn has a wrong role or content.
    """
    return check_conversation(read_first_conversation(row)[1])


def completions_of(row: Row) -> list[str]:
    """The row's list of completions.

    Raises:
        BadRow: If it is missing, empty, or holds something else than text.
    """
    value = row.get("completions")
    if not isinstance(value, list) or not value:
        raise BadRow("the row has no completions; add a list with at least one text", field="completions")
    return [read_text(text, "completions") for text in value]
