"""Raw rows of a file, streamed with their line numbers.

Decides what a file is by its name: JSON lines, a JSON list, CSV, TSV, Parquet or Arrow (both of which need pyarrow),
each also gzipped. A row that cannot be read becomes a `BadRow`; a file that cannot be read is a `BadFile`.

The separator of CSV is the one that the kind of file promises; where the header has none of these, a semicolon (as
spreadsheets write it in much of Europe), comma, tab or bar found there. A line `sep=;` above it decides too.
"""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import re
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

from personalrm.errors import BadFile, BadRow, MissingExtra
from personalrm.preferences.reading.columns import list_columns, look_like_names
from personalrm.wording import install_hint, kind_of

__all__ = ["SUFFIXES", "Numbered", "Row", "bounded_lines", "iter_lines", "iter_rows"]
Row = dict[str, Any]
Numbered = tuple[int, Row | BadRow]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
DEEPEST = 100
"""Levels of nesting beyond which a row is refused, so that no later step meets the limits of recursion."""
LONGEST_LINE = 2**26
"""Characters of a row; a conversation of a thousand turns is a hundredth of it."""
LONGEST_LIST = 2**30
"""Characters of a JSON list, which is read whole."""
MOST_UNPACKED, LEAST_UNPACKED = 100, 2**30
"""How many times its size a gzip file may unpack to on disk, and bytes that any may."""
STANDARD_INPUT = "-"
SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?')
"""What Excel reads, and some programs write, above the header."""
JSON_CELLS = frozenset({"completions", "meta"})
"""Columns that are always JSON, in every layout: cells are parsed before the layout is known, which they tell.
`tests/preferences/reading/test_layout_conformance.py` finds a column of a layout that is missing here."""
TURN_CELLS = frozenset(
    {"conversation", "prompt", "context", "chosen", "rejected"}
    | {"conversation_a", "conversation_b", "conversation_history"}
)
"""Columns that may hold turns as JSON; other JSON in them is text that somebody wrote."""
PARQUET_ROWS = 256
"""Rows decoded at once; a row with a value out of range costs the others of its part a second try."""


def iter_rows(path: str | Path) -> Iterator[Numbered]:
    """Line numbers (row numbers for lists and Parquet) with the row or what is wrong with it.

    Args:
        path: The file; `-` is JSON lines on standard input, and so is a pipe whose name does not say its kind.

    Raises:
        BadFile: If the file is missing, empty, of an unknown kind, or not UTF-8.
        MissingExtra: If it is Parquet and pyarrow is not installed.
    """
    if str(path) == STANDARD_INPUT:
        yield from _standard_input()
        return
    file = Path(path)
    try:
        what = "is a folder" if file.is_dir() else "" if file.exists() else "does not exist"
    except OSError as error:  # such as a name that is too long
        what = f"cannot be read ({error.strerror or error})"
    if what:
        raise BadFile(f"{str(file)[:200]!r} {what}; pass a file of preference pairs")
    name = file.name.lower().removesuffix(".gz")
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is None and is_stream(path):  # such as /dev/fd/63, which a shell makes of <(command)
        suffix = ".jsonl"
    if suffix is None:
        raise BadFile(
            f"{str(path)!r} is of an unknown kind; name it {', '.join(SUFFIXES)}, with .gz if it is compressed; "
            "a spreadsheet is saved as CSV first"
        )
    readers = {".json": _json_list, ".csv": _csv, ".tsv": _csv, ".parquet": _arrow, ".arrow": _arrow}
    n_rows = 0
    try:
        for numbered in readers.get(suffix, _json_lines)(file):
            n_rows += 1
            yield numbered
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
    if not n_rows:
        raise BadFile(f"{str(path)!r} is empty; it needs at least one row")


def is_stream(path: str | Path) -> bool:
    """Whether what stands there can be read once only: standard input, a pipe, a terminal."""
    return str(path) == STANDARD_INPUT or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir())


def _standard_input() -> Iterator[Numbered]:
    n_rows = 0
    try:
        stream = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        for numbered in iter_lines(bounded_lines(stream, "standard input")):
            n_rows += 1
            yield numbered
    except UnicodeDecodeError:
        raise BadFile("standard input is not UTF-8; convert it") from None
    if not n_rows:
        raise BadFile("standard input is empty; write one JSON object a line")


def _checked(value: Any, number: int, text: str | None = None) -> Row | BadRow:
    """The row, unless it is not an object, is nested too deep or holds what cannot be written to a file.

    Args:
        value: What was parsed.
        number: Its line.
        text: Where it was parsed from, if at hand; most texts show at a glance that there is nothing to check.
    """
    if not isinstance(value, dict):
        return BadRow(f"the row is {kind_of(value)}, not an object", line=number, rule="not an object")
    if (text is None or text.count("[") + text.count("{") > DEEPEST) and _is_deep(value):
        return _too_deep(number)
    if text is None or "\\u" in text:  # in UTF-8 a lone surrogate can only come from an escape
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
        except UnicodeEncodeError:
            return BadRow("a text holds a lone surrogate", line=number, rule="lone surrogate")
    return value


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


def _too_deep(number: int) -> BadRow:
    return BadRow(f"the row is nested more than {DEEPEST} levels deep", line=number, rule="nested too deep")


def _open(file: Path) -> io.TextIOBase:
    """The file as text; a BOM is dropped, line ends are read as they come."""
    if file.name.lower().endswith(".gz"):
        return io.TextIOWrapper(gzip.open(file, "rb"), encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def bounded_lines(stream: io.TextIOBase, name: str) -> Iterator[str]:
    """The lines of an open stream, none of which may fill the memory: a few kilobytes of gzip unpack to gigabytes.

    Raises:
        BadFile: If one is longer than any row.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            raise BadFile(
                f"line {number} of {name!r} is longer than {LONGEST_LINE:,} characters; write one row a line, it is "
                "not read further"
            )
        yield line


def _json_lines(file: Path) -> Iterator[Numbered]:
    with _open(file) as stream:
        yield from iter_lines(bounded_lines(stream, str(file)))


def iter_lines(lines: Iterable[str]) -> Iterator[Numbered]:
    """JSON lines of an open stream, such as standard input, with their numbers; blank lines are passed over."""
    # universal newlines would also end a row at a lone \r inside a string; JSON text never holds a raw one
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            value = json.loads(text)
        except RecursionError:
            yield number, _too_deep(number)
        except ValueError:
            yield number, BadRow("the line is not JSON", line=number, rule="not JSON")
        else:
            yield number, _checked(value, number, text)


def _json_list(file: Path) -> Iterator[Numbered]:
    with _open(file) as stream:
        text = stream.read(LONGEST_LIST)
        if len(text) == LONGEST_LIST:
            raise BadFile(f"{str(file)!r} is longer than {LONGEST_LIST:,} characters; write it as JSON lines (.jsonl)")
    if not text.strip():
        return
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise BadFile(f"{str(file)!r} is not a JSON list of rows; write a list, or one object a line in a .jsonl file")
    for number, value in enumerate(values, 1):
        yield number, _checked(value, number)


def _csv(file: Path) -> Iterator[Numbered]:
    """The rows of CSV or TSV, each with the line it begins on."""
    csv.field_size_limit(LONGEST_LINE)
    promised = "\t" if file.name.lower().removesuffix(".gz").endswith(".tsv") else ","
    with _open(file) as stream:
        blank = []
        header = "\n"
        rows = bounded_lines(stream, str(file))
        for line in rows:
            if line.strip():
                header = line
                break
            blank.append("\n")
        delimiter = next((sign for sign in (promised, *SEPARATORS) if sign in header), promised)
        if (named := SEPARATOR_LINE.fullmatch(header.strip())) is not None:
            delimiter, header = named[1], "\n"
        lines = chain(blank, [header], rows)  # the reader counts lines, so none may be missing
        records = _records(csv.reader(lines, delimiter=delimiter))
        first = next(records, (1, None))[1]
        names = first if isinstance(first, list) else []
        twice = next((name for name, times in Counter(names).items() if times > 1), None)
        if twice is not None:
            which = repr(twice) if look_like_names(names) else f"of one name among {list_columns(names)}"
            raise BadFile(f"{str(file)!r} has two columns {which}; rename one")
        for number, cells in records:
            if isinstance(cells, BadRow):
                yield number, cells
            elif len(cells) > len(names):
                message = f"the row has {len(cells)} cells, the header {len(names)}"
                yield number, BadRow(message, line=number, rule="more cells than the header")
            else:  # an empty cell is a value that is not there
                values = (_cell(name, cell) if cell else None for name, cell in zip(names, cells, strict=False))
                row = dict.fromkeys(names) | dict(zip(names, values, strict=False))
                yield number, _checked(row, number, "".join(cells))


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


def _cell(name: str, value: str) -> Any:
    """A cell; conversations and messages may be written as JSON."""
    if name not in JSON_CELLS | TURN_CELLS or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    if name in JSON_CELLS:
        return parsed
    # messages or text parts, and not a completion that happens to be JSON
    turns = parsed if isinstance(parsed, list) else [parsed]
    are_turns = all(isinstance(turn, dict) and turn.keys() & {"role", "content", "text"} for turn in turns)
    return parsed if turns and are_turns else value


def _arrow(file: Path) -> Iterator[Numbered]:
    """The rows of a Parquet file, or of a stream of record batches as `datasets` saves to disk, numbered from 1."""
    is_parquet = file.name.lower().removesuffix(".gz").endswith(".parquet")
    kind, whole = ("Parquet", "Parquet file") if is_parquet else ("Arrow", "Arrow stream")
    try:
        import pyarrow

        if is_parquet:
            import pyarrow.parquet
    except ImportError:
        raise MissingExtra(f"{str(file)!r} is {kind}, which needs pyarrow; {install_hint('parquet')}") from None
    with ExitStack() as closing:
        stream: IO[bytes] = closing.enter_context(file.open("rb"))
        if file.name.lower().endswith(".gz"):  # a temporary copy without gzip, since Parquet is read from its end
            stream = closing.enter_context(_unpacked(file, stream))
        number = 0
        try:
            batches = (
                pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=PARQUET_ROWS)
                if is_parquet
                else pyarrow.ipc.open_stream(stream)
            )
            for batch in batches:
                for at in range(0, batch.num_rows, PARQUET_ROWS):
                    for row in _decoded(_without_nanoseconds(batch.slice(at, PARQUET_ROWS))):
                        number += 1
                        message = "a date or number is beyond what Python holds"
                        yield number, row or BadRow(message, line=number, rule="out of range")
        except (pyarrow.ArrowException, OSError) as error:
            raise BadFile(f"{str(file)!r} is not a whole {whole} ({type(error).__name__}); write it again") from None


@contextmanager
def _unpacked(file: Path, packed: IO[bytes]) -> Iterator[IO[bytes]]:
    """A temporary copy of a gzip file without gzip.

    Raises:
        BadFile: If it unpacks to more than such files do, or the temporary folder has no room.
    """
    most = max(LEAST_UNPACKED, MOST_UNPACKED * file.stat().st_size)
    with tempfile.TemporaryFile() as copy, gzip.open(packed) as unpacked:
        try:
            while block := unpacked.read(2**20):
                copy.write(block)
                if copy.tell() > most:
                    raise BadFile(
                        f"{str(file)!r} unpacks to more than {most:,} bytes, {MOST_UNPACKED} times its size; unpack it "
                        "yourself and pass that"
                    )
            copy.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise BadFile(
                f"{str(file)!r} cannot be unpacked in the temporary folder ({error.strerror}); free some space there, "
                "or set TMPDIR"
            ) from None
        copy.seek(0)
        yield copy


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
