"""CSV and TSV into raw rows, each with the line it begins on.

The separator is the one that the kind of file promises; where the header has none of
these, a semicolon (as spreadsheets write it in much of Europe), comma, tab or bar found
there. A line `sep=;` above it decides too.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import TextIOBase
from itertools import chain
from typing import Any

from personalrm.errors import BadFile, BadRow
from personalrm.preferences.reading.columns import list_columns, look_like_names
from personalrm.preferences.reading.raw_rows import Numbered, Row, checked

LONGEST_CELL = 1 << 30
SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?')
"""What Excel reads, and some programs write, above the header."""
JSON_CELLS = frozenset({"completions", "meta"})
"""Columns that are always JSON."""
TURN_CELLS = frozenset(
    {"conversation", "prompt", "context", "chosen", "rejected"}
    | {"conversation_a", "conversation_b", "conversation_history"}
)
"""Columns that may hold turns as JSON; other JSON in them is text that somebody wrote."""


def csv_rows(stream: TextIOBase, *, separator: str, where: str) -> Iterator[Numbered]:
    """The rows of an open file.

    Args:
        stream: Opened with `newline=""`.
        separator: What stands between cells if the header has it.
        where: Name of the file for messages.

    Raises:
        BadFile: If two columns have one name.
    """
    csv.field_size_limit(LONGEST_CELL)
    n_blank, header = _first_line(stream)
    delimiter = _separator(header, separator)
    if (named := SEPARATOR_LINE.fullmatch(header.strip())) is not None:
        delimiter, header = named[1], "\n"
    lines = chain(["\n"] * n_blank, [header], stream)  # the reader counts lines, so none may be missing
    records = _records(csv.reader(lines, delimiter=delimiter))
    names = _header(where, next(records, (1, None))[1])
    for number, cells in records:
        yield number, cells if isinstance(cells, BadRow) else _from_cells(names, cells, number)


def _first_line(stream: TextIOBase) -> tuple[int, str]:
    """How many blank lines come first, and the line after them."""
    n_blank = 0
    for line in stream:
        if line.strip():
            return n_blank, line
        n_blank += 1
    return n_blank, "\n"


def _separator(header: str, promised: str) -> str:
    return next((one for one in (promised, *SEPARATORS) if one in header), promised)


def _records(reader: Any) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Records that are not empty, each with the line it begins on."""
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield number, BadRow("the line is not CSV", line=number, rule="not CSV")
            continue
        if cells:
            yield number, cells


def _header(where: str, cells: list[str] | BadRow | None) -> Sequence[str]:
    names = cells if isinstance(cells, list) else []
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        which = repr(twice) if look_like_names(names) else f"of one name among {list_columns(names)}"
        raise BadFile(f"{where!r} has two columns {which}; rename one")
    return names


def _from_cells(names: Sequence[str], cells: list[str], number: int) -> Row | BadRow:
    """A record as a row; an empty cell is a value that is not there."""
    if len(cells) > len(names):
        return BadRow(
            f"the row has {len(cells)} cells, the header {len(names)}", line=number, rule="more cells than the header"
        )
    values = (_cell(name, cell) if cell else None for name, cell in zip(names, cells, strict=False))
    row = dict.fromkeys(names) | dict(zip(names, values, strict=False))
    return checked(row, number, "".join(cells))


def _cell(name: str, value: str) -> Any:
    """A cell; conversations and messages may be written as JSON."""
    if name not in JSON_CELLS | TURN_CELLS or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if name in JSON_CELLS or _are_turns(parsed) else value


def _are_turns(parsed: Any) -> bool:
    """Whether this is meant as messages or text parts, and is not a completion that happens to be JSON."""
    turns = parsed if isinstance(parsed, list) else [parsed]
    return bool(turns) and all(isinstance(turn, dict) and turn.keys() & {"role", "content", "text"} for turn in turns)
