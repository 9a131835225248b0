"""Answers that were paid for, kept for good: one SQLite file.

Only readable answers come in. A key covers the model's identity (tenant, base URL,
model, extra body) and the request's messages, sampling and schema. Each entry knows
whose data asked for it, as hashes; erasing a user takes their entries, unless somebody
else's request was the same. Unscored requests are kept apart, with their reason.

Each answer carries a checksum of its key and text, since SQLite has none: an answer that
was changed on disk is forgotten and asked again, never used.

New answers come by way of `journal.py`. One connection a process, used from one
thread; a rollback journal, since the write-ahead log of SQLite before 3.51.3 is unsafe
with two connections.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personalrm.errors import NewerVersion, StoreError
from personalrm.lm.entries import Entry, Row, Unscored, owner_of, reply_from_text, sealed, unsealed
from personalrm.lm.journal import store_error, take_over
from personalrm.lm.protocol import Reply

__all__ = ["Cache", "Entry", "Unscored"]

VERSION = 1
ROWS_AT_ONCE = 400
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (owner BLOB NOT NULL, key BLOB NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_by_key ON owners (key);
CREATE TABLE IF NOT EXISTS unscored (key BLOB PRIMARY KEY, reason TEXT NOT NULL, attempts INTEGER NOT NULL)
    WITHOUT ROWID;
"""


class Cache:
    """The file; `open` it in the thread that will use it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.set_aside: Path | None = None
        """Where a damaged file was moved when this one was opened."""
        self.n_damaged = 0
        """Answers that were found changed on disk, and forgotten."""
        self._db: sqlite3.Connection | None = None
        self._has_unscored = False

    def open(self) -> set[bytes]:
        """Open or make the file; returns the keys it holds answers for.

        Raises:
            NewerVersion: If a later personalrm wrote it.
            StoreError: If it cannot be read or written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._move_aside()
                return self._connect()
        except StoreError:
            raise
        except (OSError, sqlite3.Error) as error:
            raise store_error(self.path, error) from None

    def _connect(self) -> set[bytes]:
        if self._db is not None:
            self._db.close()
        self._db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
        version = _refuse_newer(self.path, self._db)
        self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_TABLES)
        if version < VERSION:
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        self._has_unscored = self._db.execute("SELECT EXISTS (SELECT 1 FROM unscored)").fetchone()[0] == 1
        if str(self.path) != ":memory:":
            take_over(self.path, self.keep_rows)
        return {row[0] for row in self._db.execute("SELECT key FROM answers")}

    def _move_aside(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        os.replace(self.path, aside)
        journal = self.path.with_name(self.path.name + "-journal")
        if journal.exists():
            os.replace(journal, aside.with_name(aside.name + "-journal"))
        self.set_aside = aside

    def find(self, keys: Sequence[bytes]) -> list[Reply | Unscored | None]:
        """What is kept under each key."""
        return [self._find(key) for key in keys]

    def _find(self, key: bytes) -> Reply | Unscored | None:
        row = self._open_db.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        if row is not None:
            if (text := unsealed(key, row[0])) is not None:
                return reply_from_text(text)
            self.n_damaged += 1  # left for `keep` to replace, so that reading never writes
            return None
        row = self._open_db.execute("SELECT reason, attempts FROM unscored WHERE key = ?", (key,)).fetchone()
        return Unscored(*row) if row is not None else None

    def unscored_keys(self) -> set[bytes]:
        """Requests that had no usable answer the last time."""
        return {row[0] for row in self._open_db.execute("SELECT key FROM unscored")}

    def keep(self, entries: Sequence[Entry]) -> None:
        """Write all entries in one transaction; they survive a kill once this returns.

        Raises:
            StoreError: If the disk is full or the file cannot be written.
        """
        self.keep_rows([Row.of(entry) for entry in entries])

    def keep_rows(self, rows: Sequence[Row]) -> None:
        """`keep` for entries in the form they are written in; the same rows again change nothing.

        Raises:
            StoreError: If the disk is full or the file cannot be written.
        """
        answers = [(row.key, sealed(row.key, row.text)) for row in rows if row.kind == "answer"]
        unscored = [(row.key, *json.loads(row.text)) for row in rows if row.kind == "unscored"]
        db = self._open_db
        try:
            db.execute("BEGIN IMMEDIATE")
            _insert(db, "answers", answers, over=self.n_damaged > 0)
            _insert(db, "owners", [(row.owner, row.key) for row in rows])
            if unscored:
                db.executemany("INSERT OR REPLACE INTO unscored VALUES (?, ?, ?)", unscored)
                self._has_unscored = True
            elif self._has_unscored:
                db.executemany("DELETE FROM unscored WHERE key = ?", [(key,) for key, _ in answers])
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise store_error(self.path, error) from None

    def erase(self, user_id: str) -> int:
        """Take a user out; entries nobody else owns go. Returns how many went."""
        db, owner = self._open_db, owner_of(user_id)
        orphans = (
            "SELECT key FROM owners WHERE owner = ? AND NOT EXISTS "
            "(SELECT 1 FROM owners AS other WHERE other.key = owners.key AND other.owner <> owners.owner)"
        )
        try:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN IMMEDIATE")
            gone = db.execute(f"DELETE FROM answers WHERE key IN ({orphans})", (owner,)).rowcount
            db.execute(f"DELETE FROM unscored WHERE key IN ({orphans})", (owner,))
            db.execute("DELETE FROM owners WHERE owner = ?", (owner,))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise store_error(self.path, error) from None
        return gone

    def owns(self, user_id: str) -> bool:
        """Whether a user's data asked for anything that is kept."""
        owned = "SELECT EXISTS (SELECT 1 FROM owners WHERE owner = ?)"
        return bool(self._open_db.execute(owned, (owner_of(user_id),)).fetchone()[0])

    def clear(self) -> int:
        """Forget everything, damaged files that were set aside included; returns how many answers went."""
        db, n_answers = self._open_db, self.count()
        try:
            db.execute("PRAGMA secure_delete = ON")
            db.executescript("BEGIN IMMEDIATE; DELETE FROM answers; DELETE FROM owners; DELETE FROM unscored; COMMIT;")
            db.execute("VACUUM")
            for aside in self.files_set_aside():
                aside.unlink()
        except (OSError, sqlite3.Error) as error:
            raise store_error(self.path, error) from None
        return n_answers

    def files_set_aside(self) -> list[Path]:
        """Damaged files that may still hold answers of anybody."""
        return sorted(self.path.parent.glob(f"{self.path.name}.damaged-*"))

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of a query of our own."""
        return self._open_db.execute(text).fetchall()

    def owned_by(self, user_id: str) -> list[dict[str, Any]]:
        """Every answer a user's data asked for, as JSON values, for their export."""
        rows = self._open_db.execute(
            "SELECT key, answer FROM answers JOIN owners USING (key) WHERE owner = ? ORDER BY key", (owner_of(user_id),)
        )
        return [json.loads(text) for row in rows if (text := unsealed(*row)) is not None]

    def count(self) -> int:
        """How many answers are kept."""
        return int(self._open_db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            self.open()
        assert self._db is not None
        return self._db


def read_only(path: Path) -> Cache:
    """The cache in a file that is there, for reading; nothing is written, not even a damaged file is set aside.

    Raises:
        NewerVersion: If a later personalrm wrote it.
        StoreError: If it is damaged or cannot be read.
    """
    cache = Cache(path)
    try:
        cache._db = db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)
        _refuse_newer(path, db)
        db.execute("SELECT key, answer FROM answers LIMIT 1").fetchone()
    except (OSError, sqlite3.Error) as error:
        cache.close()
        raise store_error(path, error) from None
    return cache


def _refuse_newer(path: Path, db: sqlite3.Connection) -> int:
    """The version of the file, if this personalrm can read it."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise NewerVersion(
            f"cache {str(path)!r} has version {version}, this personalrm reads up to {VERSION}; upgrade it"
        )
    return version


def _insert(
    db: sqlite3.Connection, table: str, rows: Sequence[tuple[bytes, bytes | str]], *, over: bool = False
) -> None:
    """All rows in few statements: each one gives up the interpreter's lock, and a busy event loop takes it."""
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        places = ",".join(["(?,?)"] * len(some))
        db.execute(
            f"INSERT OR {'REPLACE' if over else 'IGNORE'} INTO {table} VALUES {places}",
            [value for row in some for value in row],
        )
