"""Raw rows of a file, streamed with their line numbers.

Decides what a file is by its name: JSON lines, a JSON list, CSV, TSV, Parquet or Arrow,
each also gzipped. A row that cannot be read becomes a `BadRow`; a file that cannot be
read is a `BadFile`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOBase
from itertools import chain
from pathlib import Path
from typing import IO, Any

from personalrm.errors import BadFile, BadRow, MissingExtra
from personalrm.preferences.reading.columns import list_columns, look_like_names
from personalrm.wording import install_hint, kind_of

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


__all__ = ["SUFFIXES", "Numbered", "Row", "iter_lines", "iter_rows", "parse_line"]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")


def iter_rows(path: str | Path) -> Iterator[Numbered]:
    """Line numbers (row numbers for lists and Parquet) with the row or what is wrong with it.

    Raises:
        BadFile: If the file is missing, empty, of an unknown kind, or not UTF-8.
        MissingExtra: If it is Parquet and pyarrow is not installed.
    """
    file = Path(path)
    _refuse_no_file(file)
    name = file.name.lower().removesuffix(".gz")
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        raise BadFile(
            f"{str(path)!r} is of an unknown kind; name it {', '.join(SUFFIXES)}, with .gz if it is compressed; "
            "a spreadsheet is saved as CSV first"
        )
    n_rows = 0
    for numbered in _read(file, suffix):
        n_rows += 1
        yield numbered
    if not n_rows:
        raise BadFile(f"{str(path)!r} is empty; it needs at least one row")


def _refuse_no_file(file: Path) -> None:
    try:
        what = "is a folder" if file.is_dir() else "" if file.exists() else "does not exist"
    except OSError as error:  # such as a name that is too long
        what = f"cannot be read ({error.strerror or error})"
    if what:
        raise BadFile(f"{str(file)[:200]!r} {what}; pass a file of preference pairs")


def _read(file: Path, suffix: str) -> Iterator[Numbered]:
    readers = {".json": _json_list, ".csv": _csv, ".tsv": _csv, ".parquet": parquet_rows, ".arrow": arrow_rows}
    try:
        yield from readers.get(suffix, _json_lines)(file)
    except UnicodeDecodeError as error:
        raise BadFile(
            f"{str(file)!r} is not UTF-8 (byte {error.start} of a block); save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise BadFile(f"{str(file)!r} is not a whole gzip file; compress it again or drop .gz from the name") from None
    except OSError as error:
        raise BadFile(
            f"{str(file)!r} cannot be read ({error.strerror or error}); check the path and the rights"
        ) from None


def _open(file: Path) -> io.TextIOBase:
    """The file as text; a BOM is dropped, line ends are read as they come."""
    if file.name.lower().endswith(".gz"):
        return io.TextIOWrapper(gzip.open(file, "rb"), encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _json_lines(file: Path) -> Iterator[Numbered]:
    with _open(file) as lines:
        yield from iter_lines(lines)


def iter_lines(lines: Iterable[str]) -> Iterator[Numbered]:
    """JSON lines of an open stream, such as standard input, with their numbers; blank lines are passed over."""
    # universal newlines would also end a row at a lone \r inside a string; JSON text never holds a raw one
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text:
            yield number, parse_line(text, number)


def parse_line(text: str, number: int) -> Row | BadRow:
    """A line as a JSON object, or what is wrong with it."""
    try:
        value = json.loads(text)
    except RecursionError:
        return too_deep(number)
    except ValueError:
        return BadRow("the line is not JSON", line=number, rule="not JSON")
    return checked(value, number, text)


def _json_list(file: Path) -> Iterator[Numbered]:
    with _open(file) as stream:
        text = stream.read()
    if not text.strip():
        return
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise BadFile(f"{str(file)!r} is not a JSON list of rows; write a list, or one object a line in a .jsonl file")
    for number, value in enumerate(values, 1):
        yield number, checked(value, number)


def _csv(file: Path) -> Iterator[Numbered]:
    is_tsv = file.name.lower().removesuffix(".gz").endswith(".tsv")
    with _open(file) as stream:
        yield from csv_rows(stream, separator="\t" if is_tsv else ",", where=str(file))


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


PARQUET_ROWS = 256
"""Rows decoded at once; a row with a value out of range costs the others of its part a second try."""


def parquet_rows(file: Path) -> Iterator[Numbered]:
    """The rows of a Parquet file, numbered from 1."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(f"{str(file)!r} is Parquet, which needs pyarrow; {install_hint('parquet')}") from None
    with _uncompressed(file) as stream:
        try:
            yield from _rows(pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=PARQUET_ROWS))
        except (pyarrow.ArrowException, OSError) as error:
            raise BadFile(
                f"{str(file)!r} is not a whole Parquet file ({type(error).__name__}); write it again"
            ) from None


def arrow_rows(file: Path) -> Iterator[Numbered]:
    """A stream of record batches, as `datasets` saves to disk."""
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(f"{str(file)!r} is Arrow, which needs pyarrow; {install_hint('parquet')}") from None
    with _uncompressed(file) as stream:
        try:
            yield from _rows(pyarrow.ipc.open_stream(stream))
        except (pyarrow.ArrowException, OSError) as error:
            raise BadFile(
                f"{str(file)!r} is not a whole Arrow stream ({type(error).__name__}); write it again"
            ) from None


def _rows(batches: Iterable[Any]) -> Iterator[Numbered]:
    """The rows of all batches, numbered from 1."""
    parts = (batch.slice(at, PARQUET_ROWS) for batch in batches for at in range(0, batch.num_rows, PARQUET_ROWS))
    rows = (row for part in parts for row in _decoded(_without_nanoseconds(part)))
    for number, row in enumerate(rows, 1):
        yield number, row or BadRow("a date or number is beyond what Python holds", line=number, rule="out of range")


def _decoded(part: Any) -> Iterator[Row | None]:
    """The rows of a part; None for one that holds something out of range, such as the year 30,000."""
    try:
        yield from part.to_pylist()
    except UnicodeDecodeError:  # a ValueError too, but of the whole file
        raise
    except (OverflowError, ValueError):
        if part.num_rows == 1:
            yield None
            return
        for at in range(part.num_rows):
            yield from _decoded(part.slice(at, 1))


def _without_nanoseconds(batch: Any) -> Any:
    """The batch with times in microseconds, the finest that Python has."""
    import pyarrow

    fields = [
        field.with_type(pyarrow.timestamp("us", field.type.tz))
        if pyarrow.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field
        for field in batch.schema
    ]
    schema = pyarrow.schema(fields)
    return batch if schema.equals(batch.schema) else pyarrow.Table.from_batches([batch]).cast(schema, safe=False)


def _uncompressed(file: Path) -> IO[bytes]:
    """The file itself, or a temporary copy without gzip, since Parquet is read from its end."""
    if not file.name.lower().endswith(".gz"):
        return file.open("rb")
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    with gzip.open(file, "rb") as packed:
        shutil.copyfileobj(packed, copy)
    copy.seek(0)
    return copy
