"""A folder of embeddings: each text embedded once, both poolings, fp16, memory-mapped.

    <folder>/rows.sqlite   which row holds which text (a hash), and who owns it (hashes)
    <folder>/last.f16      vectors, row by row, little endian
    <folder>/mean.f16

Rows are appended: vectors are written and flushed behind the last row that the database
knows, then the database says they are there. A crash in between leaves bytes that nobody
refers to and the next append overwrites. Appending and erasing hold the database's write
lock, so several processes may share a folder. Texts and user ids never reach the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import POOLINGS, Encoder, IntArray, Pooling, TextSequence, Vectors
from personalrm.errors import BadInput, CorruptFile, NewerVersion, StoreError
from personalrm.whole_files import open_private, private_folder

HalfArray = npt.NDArray[np.float16]
LARGEST = float(np.finfo(np.float16).max)
CLIPPED = (
    f"vectors of the encoder hold values beyond {LARGEST:.0f}, the largest of fp16, which are stored as that; another "
    "layer of the model may have smaller ones"
)


def in_fp16(values: Vectors) -> HalfArray:
    """The values in fp16, little endian."""
    return np.clip(values, -LARGEST, LARGEST).astype("<f2")


VERSION = 1
CHUNK = 512
"""Sequences between two commits: what a crash costs at most."""
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS owners (owner BLOB NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (owner, number))
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_of ON owners (number);
"""


class EmbeddingStore:
    """Vectors of one encoder in one folder; the constructor touches nothing.

    Args:
        folder: Made at the first use.
        encoder: Embeds what is missing. A folder belongs to one encoder's identity.
        watch: Told how many of how many missing texts are embedded; it takes longest of all a training does.
    """

    def __init__(
        self, folder: str | Path, encoder: Encoder, *, watch: Callable[[int, int], None] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.encoder, self._watch = encoder, watch
        self.n_clipped = 0
        """Vectors with a value beyond fp16's largest, which stands in for it, so far."""
        self._rows: dict[bytes, int] = {}
        self._lost: set[bytes] = set()
        """Texts of which the encoder could make no vector."""
        self._owned: set[tuple[bytes, int]] = set()
        self._n_known = 0
        self._n_erasures = -1
        self._is_open = False

    def rows(self, sequences: Sequence[TextSequence], *, owners: Sequence[str] | None = None) -> IntArray:
        """The row of each sequence, shape `(sequences,)`; what is missing is embedded and kept first.

        A row keeps its number until it is erased. Equal texts share a row. A text of which the encoder can make no
        vector has none, told as -1, and costs no other text its own.

        Args:
            sequences: What to find.
            owners: Whose text each is (user ids); `erase` removes a row with its last owner. None
                for texts that are nobody's.

        Raises:
            BadInput: If the encoder gives vectors of another shape or values that are not numbers.
            StoreError: If the folder cannot be read or written, or belongs to another encoder.
        """
        if owners is not None and len(owners) != len(sequences):
            raise BadInput(f"{len(sequences)} sequences have {len(owners)} owners; pass one a sequence")
        watch = self._watch or (lambda n_done, n_texts: None)
        owner_of = [_hashed(owner) for owner in owners] if owners is not None else [_hashed("")] * len(sequences)
        while True:
            self._refresh()
            missing = {
                s.key: (s, o)
                for s, o in zip(sequences, owner_of, strict=True)
                if s.key not in self._rows and s.key not in self._lost
            }
            if not missing:
                rows = np.array([self._rows.get(sequence.key, -1) for sequence in sequences], dtype=np.int64)
                found = [(owner, row) for owner, row in zip(owner_of, rows.tolist(), strict=True) if row >= 0]
                if self._note_owners(found):
                    return rows
            todo = list(missing.values())
            for start in range(0, len(todo), CHUNK):
                watch(start, len(todo))
                self._append(*zip(*todo[start : start + CHUNK], strict=True))
            watch(len(todo), len(todo))

    def matrix(self, pooling: Pooling = "last") -> HalfArray:
        """All vectors, shape `(rows, dim)`, as a read-only map of the file; erased rows are zero.

        Raises:
            StoreError: If the file cannot be read.
        """
        self._refresh()
        shape = (self._n_known, self.encoder.dim)
        if not self._n_known:
            return np.zeros(shape, dtype=np.float16)
        try:
            return np.memmap(self._file(pooling), dtype="<f2", mode="r", shape=shape)
        except (OSError, ValueError) as error:
            raise CorruptFile(
                f"embeddings {str(self._file(pooling))!r} hold fewer than {shape[0]} rows ({type(error).__name__}); "
                "remove the folder, it is made again from the texts"
            ) from None

    def has_lost(self, sequences: Iterable[TextSequence]) -> bool:
        """Whether the encoder was asked for one of these and can make no vector of it."""
        return any(sequence.key in self._lost for sequence in sequences)

    def vectors(self, sequences: Sequence[TextSequence], pooling: Pooling = "last") -> Vectors:
        """The vector of each sequence, shape `(sequences, dim)`; what is missing is embedded but not kept.

        A vector is the same whether it was kept or not: both are rounded to fp16. That of a text of which the encoder
        can make none is not a number.

        Raises:
            BadInput: If the encoder gives vectors of another shape or values that are not numbers.
            StoreError: If the folder cannot be read.
        """
        self._refresh()
        vectors = np.zeros((len(sequences), self.encoder.dim), dtype=np.float32)
        kept = [place for place, sequence in enumerate(sequences) if sequence.key in self._rows]
        if kept:
            vectors[kept] = self.matrix(pooling)[[self._rows[sequences[place].key] for place in kept]]
        missing: dict[bytes, list[int]] = {}
        for place, sequence in enumerate(sequences):
            if sequence.key in self._lost:
                vectors[place] = np.nan
            elif sequence.key not in self._rows:
                missing.setdefault(sequence.key, []).append(place)
        firsts = [places[0] for places in missing.values()]
        for start in range(0, len(firsts), CHUNK):
            chunk = firsts[start : start + CHUNK]
            embedded = self.encoder.embed([sequences[place] for place in chunk])
            values = embedded.last if pooling == "last" else embedded.mean
            self._check(pooling, values, len(chunk))
            self._note_clipped(values)
            for place, vector in zip(chunk, in_fp16(values), strict=True):
                vectors[missing[sequences[place].key]] = vector
        return vectors

    def __len__(self) -> int:
        self._refresh()
        return len(self._rows)

    def erase(self, user_id: str) -> int:
        """Forget a user: their rows that nobody else owns are zeroed on disk; returns how many those were."""
        self._refresh()  # the folder is made and checked
        n_gone = erase_rows(self.folder, user_id)
        self._refresh()
        return n_gone

    def _append(self, sequences: Sequence[TextSequence], owners: Sequence[bytes]) -> None:
        """Embed the sequences and write them down; rows another process added meanwhile are left as they are."""
        embedded = self.encoder.embed(sequences)
        vectors = {"last": embedded.last, "mean": embedded.mean}
        for pooling, values in vectors.items():
            self._check(pooling, values, len(sequences))
        lost = np.flatnonzero(np.isnan(embedded.last).all(axis=1))
        self._lost |= {sequences[int(place)].key for place in lost}
        with self._database() as database:
            database.execute("BEGIN IMMEDIATE")
            known = {
                key for s in sequences for (key,) in database.execute("SELECT key FROM rows WHERE key = ?", (s.key,))
            }
            known |= self._lost
            new = [place for place, sequence in enumerate(sequences) if sequence.key not in known]
            first = int(_fact(database, "n_rows"))
            numbers = list(range(first, first + len(new)))
            self._note_clipped(*(vectors[pooling][new] for pooling in POOLINGS))
            for pooling in POOLINGS:
                _write_rows(self._file(pooling), numbers, in_fp16(vectors[pooling][new]))
            _set_fact(database, "dim", str(self.encoder.dim))
            database.executemany(
                "INSERT INTO rows VALUES (?, ?)", zip(numbers, (sequences[place].key for place in new), strict=True)
            )
            # Owned from the start: to `erase`, a row without owner is one to remove.
            owned = zip((owners[place] for place in new), numbers, strict=True)
            database.executemany("INSERT INTO owners VALUES (?, ?)", owned)
            _set_fact(database, "n_rows", str(first + len(new)))
            database.execute("COMMIT")
        self._refresh()

    def _check(self, pooling: str, values: npt.NDArray[np.float32], n: int) -> None:
        # A text of which no vector can be made has none at all; a value that is not a number among others is a mistake.
        whole = values[~np.isnan(values).all(axis=1)] if values.ndim == 2 else values
        if values.shape != (n, self.encoder.dim) or not np.isfinite(whole).all():
            raise BadInput(
                f"the encoder's {pooling} vectors of {n} sequences have shape {values.shape!r} or hold values that are "
                f"not numbers, wanted finite {(n, self.encoder.dim)!r}; check the encoder"
            )

    def _note_clipped(self, *poolings: Vectors) -> None:
        """Count the sequences with a vector that does not fit fp16, given arrays `(sequences, dim)`."""
        n = int(np.any([(np.abs(values) > LARGEST).any(axis=1) for values in poolings], axis=0).sum())
        if n and not self.n_clipped:
            warnings.warn(CLIPPED, RuntimeWarning, stacklevel=2)
        self.n_clipped += n

    def _note_owners(self, found: Collection[tuple[bytes, int]]) -> bool:
        """Note who owns which row; False if an erasure came between, so that rows must be looked up again."""
        pairs = set(found) - self._owned
        if pairs:
            with self._database() as database:
                database.execute("BEGIN IMMEDIATE")
                if int(_fact(database, "erasures")) != self._n_erasures:
                    return False
                database.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", sorted(pairs))
                database.execute("COMMIT")
            self._owned |= pairs
        return True

    def _refresh(self) -> None:
        """Learn what the folder holds, from the last known row on, or anew after an erasure."""
        with self._database() as database:
            database.execute("BEGIN")
            erasures = int(_fact(database, "erasures"))
            if erasures != self._n_erasures:
                self._rows, self._owned, self._n_known, self._n_erasures = {}, set(), 0, erasures
            query = "SELECT key, number FROM rows WHERE number >= ?"
            self._rows.update(database.execute(query, (self._n_known,)).fetchall())
            self._n_known = int(_fact(database, "n_rows"))
            database.execute("COMMIT")

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction; a failure in it takes the transaction back."""
        try:
            if not self._is_open:
                private_folder(self.folder)
                open(self.folder / "rows.sqlite", "ab", opener=open_private).close()  # SQLite would go by the umask
            database = sqlite3.connect(self.folder / "rows.sqlite", timeout=60.0, isolation_level=None)
            database.execute("PRAGMA secure_delete = ON")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"embeddings {str(self.folder)!r} cannot be opened ({error})") from None
        try:
            if not self._is_open:  # make the tables, or check that they are ours
                database.execute("BEGIN IMMEDIATE")
                for statement in _TABLES.split(";"):
                    database.execute(statement)
                start = {"version": str(VERSION), "identity": self.encoder.identity, "n_rows": "0", "erasures": "0"}
                database.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", start.items())
                database.execute("COMMIT")
                where = f"embeddings {str(self.folder)!r}"
                if int(_fact(database, "version")) > VERSION:
                    raise NewerVersion(f"{where} were written by a later personalrm; update it")
                if _fact(database, "identity") != self.encoder.identity:
                    raise StoreError(f"{where} were made by another encoder; name another folder")
                self._is_open = True
            yield database
        except StoreError:
            raise
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"embeddings {str(self.folder)!r} cannot be read or written ({error})") from None
        finally:
            database.close()

    def _file(self, pooling: Pooling) -> Path:
        return self.folder / f"{pooling}.f16"


def erase_rows(folder: Path, user_id: str) -> int:
    """Zero the rows of a folder that a user alone owns; returns how many those were. No encoder is needed.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    try:
        with closing(sqlite3.connect(folder / "rows.sqlite", timeout=60.0, isolation_level=None)) as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM owners WHERE owner = ?", (_hashed(user_id),))
            query = "SELECT number FROM rows WHERE number NOT IN (SELECT number FROM owners) ORDER BY number"
            gone = [number for (number,) in database.execute(query)]
            for path in (folder / f"{pooling}.f16" for pooling in POOLINGS) if gone else ():
                n_rows = int(_fact(database, "n_rows"))
                dim = _find_fact(database, "dim")  # folders of the first versions do not say it, their size does
                width = int(dim) if dim is not None else path.stat().st_size // (2 * n_rows)
                _write_rows(path, gone, np.zeros((len(gone), width), dtype=np.float16))
            database.executemany("DELETE FROM rows WHERE number = ?", [(number,) for number in gone])
            _set_fact(database, "erasures", str(int(_fact(database, "erasures")) + 1))
            database.execute("COMMIT")
    except StoreError:
        raise
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"embeddings {str(folder)!r} cannot be read or written ({error})") from None
    return len(gone)


def _write_rows(path: Path, numbers: Sequence[int], vectors: HalfArray) -> None:
    """Put vectors at their rows and flush them; called inside a write transaction."""
    width = 2 * vectors.shape[1]
    with open(open_private(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
        start = 0
        for stop in range(1, len(numbers) + 1):  # a stretch of numbers that follow each other is one write
            if stop == len(numbers) or numbers[stop] != numbers[stop - 1] + 1:
                file.seek(numbers[start] * width)
                file.write(vectors[start:stop].tobytes())
                start = stop
        file.flush()
        os.fsync(file.fileno())


def _hashed(user_id: str) -> bytes:
    return hashlib.blake2b(json.dumps(user_id).encode("ascii"), digest_size=16).digest()


def _fact(database: sqlite3.Connection, name: str) -> str:
    value = _find_fact(database, name)
    if value is None:
        raise CorruptFile(f"the embeddings' database does not say {name!r}; remove the folder, it is made again")
    return value


def _find_fact(database: sqlite3.Connection, name: str) -> str | None:
    row = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _set_fact(database: sqlite3.Connection, name: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
