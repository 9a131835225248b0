"""Answers that earlier versions kept: an SQLite file, and journals that a killed process left beside it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from personalrm.errors import NewerVersion, StoreError
from personalrm.lm.answer_lines import NOBODY, Line

SQLITE = b"SQLite format 3\0"
VERSION = 1
CHECKSUM = 16
"""Characters of an answer's checksum, in front of it."""
JOURNAL = ".arrived-"
_ROWS = "SELECT {table}.*, owners.owner FROM {table} LEFT JOIN owners USING (key) ORDER BY key"


class Damaged(Exception):
    """The file cannot be read as what it began as."""


def lines_of_database(path: Path, *, writable: bool) -> Iterator[Line | None]:
    """Everything in an SQLite cache; None for each answer that was changed on disk.

    Args:
        path: The file.
        writable: Whether a transaction that a kill cut short may be rolled back.

    Raises:
        Damaged: If the database is.
        NewerVersion: If a later personalrm wrote it.
        StoreError: If it is another program's, or locked.
    """
    try:
        with closing(_connect(path, "rw" if writable else "ro")) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise NewerVersion(
                    f"cache {str(path)!r} has version {version}, this personalrm reads up to {VERSION}; upgrade it"
                )
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise Damaged
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables <= {"answers", "owners", "unscored"}:
                raise StoreError(f"{str(path)!r} is a database of another program; give another path for the cache")
            if tables:
                yield from _lines(db)
    except sqlite3.OperationalError as error:
        raise StoreError(f"cache {str(path)!r} cannot be used ({error}); check the file") from None
    except sqlite3.DatabaseError:
        raise Damaged from None


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=30.0)


def _lines(db: sqlite3.Connection) -> Iterator[Line | None]:
    latest = b""
    for key, kept, owner in db.execute(_ROWS.format(table="answers")):
        if key == latest:
            yield Line(key, owner, "owner")
            continue
        latest = key
        text = kept[CHECKSUM:]
        checksum = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=CHECKSUM // 2)
        yield Line(key, owner or NOBODY, "answer", text) if kept[:CHECKSUM] == checksum.hexdigest() else None
    for key, reason, attempts, owner in db.execute(_ROWS.format(table="unscored")):
        yield Line(key, owner or NOBODY, "unscored", json.dumps([reason, attempts]))


def journals(path: Path) -> Iterator[tuple[Path, list[Line]]]:
    """Journals of dead processes beside a cache, with the sound lines in each.

    A process that is alive holds a lock on its journals; those are passed over.
    """
    if sys.platform == "win32":
        return  # cannot tell the living from the dead there
    import fcntl

    for journal in sorted(path.parent.glob(f"{path.name}{JOURNAL}*")):
        with suppress(FileNotFoundError, BlockingIOError), journal.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lines = (Line.from_bytes(line) for line in opened.read().split(b"\n"))
            yield journal, [line for line in lines if line is not None]
