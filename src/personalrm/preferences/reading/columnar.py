"""Parquet and Arrow into raw rows, a few hundred at a time; both need pyarrow."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from personalrm.errors import BadFile, BadRow, MissingExtra
from personalrm.preferences.reading.raw_rows import Numbered, Row
from personalrm.wording import install_hint

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
