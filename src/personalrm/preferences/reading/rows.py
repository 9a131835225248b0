"""Raw rows of a file, streamed with their line numbers.

Decides what a file is by its name: JSON lines, a JSON list, CSV, TSV, Parquet or Arrow,
each also gzipped. A row that cannot be read becomes a `BadRow`; a file that cannot be
read is a `BadFile`.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from personalrm.errors import BadFile, BadRow
from personalrm.preferences.reading.columnar import arrow_rows, parquet_rows
from personalrm.preferences.reading.csv_rows import csv_rows
from personalrm.preferences.reading.raw_rows import Numbered, Row, checked, too_deep

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
