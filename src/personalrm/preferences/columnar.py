"""Parquet and Arrow into raw rows, a few hundred at a time; both need pyarrow."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from personalrm.errors import BadFile, MissingExtra
from personalrm.preferences.raw_rows import Numbered
from personalrm.wording import install_hint

PARQUET_ROWS = 256
"""Rows decoded at once."""


def parquet_rows(file: Path) -> Iterator[Numbered]:
    """The rows of a Parquet file, numbered from 1."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(f"{str(file)!r} is Parquet, which needs pyarrow; {install_hint('parquet')}") from None
    number = 0
    with _uncompressed(file) as stream:
        try:
            table = pyarrow.parquet.ParquetFile(stream)
            for batch in table.iter_batches(batch_size=PARQUET_ROWS):
                for row in _without_nanoseconds(batch).to_pylist():
                    number += 1
                    yield number, row
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
    number = 0
    with _uncompressed(file) as stream:
        try:
            for batch in pyarrow.ipc.open_stream(stream):
                for at in range(0, batch.num_rows, PARQUET_ROWS):
                    for row in _without_nanoseconds(batch.slice(at, PARQUET_ROWS)).to_pylist():
                        number += 1
                        yield number, row
        except (pyarrow.ArrowException, OSError) as error:
            raise BadFile(
                f"{str(file)!r} is not a whole Arrow stream ({type(error).__name__}); write it again"
            ) from None


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
