"""Raw rows of a file, streamed with their line numbers.

Decides what a file is by its name: JSON lines, a JSON list, CSV, TSV or Parquet, each
also gzipped. A row that cannot be read becomes a `BadRow`; a file that cannot be read is
a `BadFile`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personalrm.errors import BadFile, BadRow, MissingExtra

Row = dict[str, Any]
Numbered = tuple[int, Row | BadRow]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
LONGEST_CELL = 1 << 30
JSON_CELLS = frozenset({"conversation", "prompt", "context", "chosen", "rejected", "completions", "meta"})


def iter_rows(path: str | Path) -> Iterator[Numbered]:
    """Line numbers (row numbers for lists and Parquet) with the row or what is wrong with it.

    Raises:
        BadFile: If the file is missing, empty, of an unknown kind, or not UTF-8.
        MissingExtra: If it is Parquet and pyarrow is not installed.
    """
    file = Path(path)
    name = file.name.lower().removesuffix(".gz")
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        raise BadFile(
            f"{str(path)!r} is of an unknown kind; name it {', '.join(SUFFIXES)}, with .gz if it is compressed"
        )
    if file.is_dir() or not file.exists():
        raise BadFile(
            f"{str(path)!r} {'is a folder' if file.is_dir() else 'does not exist'}; pass a file of preference pairs"
        )
    n_rows = 0
    for numbered in _read(file, suffix):
        n_rows += 1
        yield numbered
    if not n_rows:
        raise BadFile(f"{str(path)!r} is empty; it needs at least one preference pair")


def _read(file: Path, suffix: str) -> Iterator[Numbered]:
    readers = {".json": _json_list, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    try:
        yield from readers.get(suffix, _json_lines)(file)
    except UnicodeDecodeError as error:
        raise BadFile(f"{str(file)!r} is not UTF-8 (byte {error.start} of a block); save it as UTF-8") from None
    except (gzip.BadGzipFile, EOFError):
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
        # universal newlines would also end a row at a lone \r inside a string; JSON text never holds a raw one
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if text:
                yield number, parse_line(text, number)


def parse_line(text: str, number: int) -> Row | BadRow:
    """A line as a JSON object, or what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return BadRow("the line is not JSON", line=number, rule="not JSON")
    return _checked(value, number, may_hold_surrogates="\\u" in text)


def _checked(value: Any, number: int, *, may_hold_surrogates: bool) -> Row | BadRow:
    if not isinstance(value, dict):
        return BadRow(f"the row is a {type(value).__name__}, not an object", line=number, rule="not an object")
    if may_hold_surrogates:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return BadRow("a text holds a lone surrogate", line=number, rule="lone surrogate")
    return value


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
        yield number, _checked(value, number, may_hold_surrogates=True)


def _csv(file: Path) -> Iterator[Numbered]:
    csv.field_size_limit(LONGEST_CELL)
    delimiter = "\t" if ".tsv" in file.name.lower() else ","
    with _open(file) as stream:
        reader = csv.DictReader(stream, delimiter=delimiter, restkey="")
        for row in reader:
            if "" in row and isinstance(row[""], list):
                yield (
                    reader.line_num,
                    BadRow("the row has more cells than the header", line=reader.line_num, rule="cells"),
                )
            else:
                yield (
                    reader.line_num,
                    {name: _cell(name, value) for name, value in row.items() if value not in (None, "")},
                )


def _cell(name: str, value: str) -> Any:
    """A cell; conversations and messages may be written as JSON."""
    if name in JSON_CELLS and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _parquet(file: Path) -> Iterator[Numbered]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(
            f"{str(file)!r} is Parquet, which needs pyarrow; pip install 'personalrm[parquet]'"
        ) from None
    number = 0
    try:
        table = pyarrow.parquet.ParquetFile(_uncompressed(file))
        for batch in table.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: value for name, value in row.items() if value is not None}
    except pyarrow.ArrowException as error:
        raise BadFile(f"{str(file)!r} is not a whole Parquet file ({type(error).__name__}); write it again") from None


def _uncompressed(file: Path) -> Any:
    return io.BytesIO(gzip.decompress(file.read_bytes())) if file.name.lower().endswith(".gz") else str(file)
