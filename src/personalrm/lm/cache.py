"""Answers that were paid for, kept for good: one text file that only grows.

Only readable answers come in. A key covers the model's identity (tenant, base URL,
model, extra body) and the request's messages, sampling and schema. Each line knows
whose data asked for it, as hashes; erasing a user takes their answers, unless somebody
else's request was the same. Unscored requests are kept too, with their reason.

A line is appended with one write, which survives a kill of the process once it has
returned. (It does not wait for the disk: after a power cut the last moments are asked
again.) Each line carries a checksum: an answer that was changed on disk is asked again,
never used. Several processes may append to one file and read what the others wrote; a
process that asks holds a claim, so that the others wait for its answer. Why a file of
our own and not a database: docs/decisions/0027-answers-of-models.md.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import sqlite3
import struct
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

from personalrm.errors import NewerVersion, StoreError
from personalrm.lm.protocol import Reply, TokenChances, Usage
from personalrm.whole_files import open_private, private_folder

if sys.platform != "win32":
    import fcntl

CACHE_FILE = "cache.sqlite"
"""Its name in a home folder, from when it was a database."""
VERSION = 1
"""Of the file, and of the SQLite files that earlier versions kept."""
HEADER = b"personalrm answers %d\n" % VERSION
CHUNK = 1 << 20
LINE = 4096
"""Bytes read at first for one line; few answers are longer."""
OPENING = 1 << 61
CLAIMS = 1 << 62
"""Bytes that only locks are taken on; no file is as long."""
Kind = Literal["answer", "unscored", "owner"]
OWNER_AT, KIND_AT = 42, 75
"""Where a line's owner and kind begin, after a checksum of 8 characters and a key of 32."""
NOBODY = bytes(16)
SQLITE = b"SQLite format 3\0"
JOURNAL = ".arrived-"
"""Between the name of an earlier version's cache and the rest of its journals' names."""
CHECKSUM = 16
"""Characters of a checksum, in front of each answer in an SQLite file."""
_ROWS = "SELECT {table}.*, owners.owner FROM {table} LEFT JOIN owners USING (key) ORDER BY key"


@dataclass(frozen=True)
class Unscored:
    """A request without a usable answer."""

    reason: str
    attempts: int


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """An answer, a request without one, or one more owner of either."""

    key: bytes
    """Of the request, 16 bytes."""
    owner: bytes
    """Hash of the id of a user whose data was asked about."""
    kind: Kind
    text: str = ""
    """An answer as JSON, `[reason, attempts]` as JSON, or nothing for an owner."""

    @classmethod
    def of(cls, key: bytes, user_id: str, result: Reply | Unscored) -> Line:
        """The line of a result."""
        if isinstance(result, Unscored):
            return cls(key, owner_of(user_id), "unscored", json.dumps([result.reason, result.attempts]))
        content: dict[str, Any] = {
            "text": result.text,
            "finish_reason": result.finish_reason,
            "model": result.model,
            "usage": vars(result.usage),
        }
        if result.tokens:
            content["tokens"] = [(token.text, token.alternatives) for token in result.tokens]
        return cls(key, owner_of(user_id), "answer", json.dumps(content))

    def result(self) -> Reply | Unscored:
        """The result in the line of an answer or of a request without one."""
        content = json.loads(self.text)
        if self.kind == "unscored":
            return Unscored(*content)
        tokens = tuple(
            TokenChances(text, tuple((str(token), float(chance)) for token, chance in alternatives))
            for text, alternatives in content.get("tokens", ())
        )
        return Reply(content["text"], content["finish_reason"], Usage(**content["usage"]), tokens, content["model"])

    def as_bytes(self) -> bytes:
        """The line behind a checksum, without its end; JSON escapes line ends, so no text can pose as two lines."""
        body = f"{self.key.hex()} {self.owner.hex()} {self.kind} {self.text}".encode("ascii")
        return b"%08x %b" % (zlib.crc32(body), body)

    @classmethod
    def from_bytes(cls, line: bytes) -> Line | None:
        """The line that was written; None where it was changed since or not written to its end."""
        checksum, _, body = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            return None
        key, owner, kind, text = body.decode("ascii").split(" ", 3)
        return cls(bytes.fromhex(key), bytes.fromhex(owner), kind, text)  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def owner_of(user_id: str) -> bytes:
    """What a user is known by in the file; never their id."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[:16]


class LineIndex:
    """Where lines begin, by a hash of 32 bits, in 16 to 32 bytes a line (a dict of the same takes over 100).

    Different keys may share a hash: whoever reads a line compares the key in it.

    Args:
        n_lines: How many to make room for; growing to them takes three times as long.
    """

    def __init__(self, n_lines: int = 0) -> None:
        self._reserve(1024 << (n_lines // 700).bit_length())

    def add(self, line_hash: int, offset: int) -> None:
        """Note a line; noting it twice changes nothing."""
        if 4 * self._n_lines >= 3 * len(self._hashes):
            hashes, offsets = self._hashes, self._offsets
            self._reserve(2 * len(hashes))
            for known_hash, known_offset in zip(hashes, offsets, strict=True):
                if known_offset:
                    self.add(known_hash, known_offset)
        offsets, last = self._offsets, len(self._offsets) - 1
        slot = line_hash & last
        # Odd steps reach every slot of a power of two; of different lengths, they keep a full table fast.
        step = line_hash >> 15 | 1
        while offsets[slot]:
            if offsets[slot] == offset:
                return
            slot = (slot + step) & last
        self._hashes[slot], offsets[slot] = line_hash, offset
        self._n_lines += 1

    def find(self, line_hash: int) -> list[int]:
        """Where lines of this hash begin, newest first."""
        last = len(self._offsets) - 1
        slot, step = line_hash & last, line_hash >> 15 | 1
        offsets = []
        while self._offsets[slot]:
            if self._hashes[slot] == line_hash:
                offsets.append(self._offsets[slot])
            slot = (slot + step) & last
        return sorted(offsets, reverse=True)

    def _reserve(self, n_slots: int) -> None:
        self._n_lines = 0
        self._hashes = array("I", bytes(4 * n_slots))
        self._offsets = array("Q", bytes(8 * n_slots))  # 0 is an empty slot: no line begins where the file does


@dataclass(frozen=True)
class CacheReport:
    """What a cache holds; counts only."""

    n_bytes: int = 0
    n_answers: int = 0
    n_unscored: int = 0
    """Requests that had no usable answer the last time."""
    n_owners: int = 0
    """Users whose data asked for something; who they are is not in the file."""
    by_model: tuple[tuple[str, int], ...] = ()
    """Answers by the name the server gave its model, most first."""


class Cache:
    """The file, opened by `open` or `with`; used by one thread at a time.

    Args:
        path: Where it is, or `:memory:`.
        read_only: Write nothing; a file that is not there is an empty cache, a damaged one an error.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.set_aside: Path | None = None
        """Where a damaged file was moved when this one was opened."""
        self.n_damaged = 0
        """Answers that were found changed on disk, and forgotten."""
        self._read_only = read_only
        self._file: IO[bytes] | None = None
        self._unwritable: OSError | None = None
        self._retried_before = 0
        self._forget_index()

    def open(self, *, retry_unscored: bool = False) -> None:
        """Open or make the file.

        Args:
            retry_unscored: Whether requests that had no usable answer before now count as not asked.

        Raises:
            NewerVersion: If a later personalrm wrote it.
            StoreError: If it cannot be read or written.
        """
        self.close()
        self._unwritable = None
        try:
            if str(self.path) == ":memory:" or (self._read_only and not self.path.exists()):
                self._file = io.BytesIO(HEADER)
            elif self._read_only:
                self._file = self._opened_for_reading()
            else:
                private_folder(self.path.parent)
                try:
                    self._file = self._opened_for_writing()
                except OSError as error:
                    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM) or not self.path.exists():
                        raise
                    # Raised when somebody asks: commands that need no answer go on, those that do end as stopped.
                    self._unwritable = error
                    self._file = self._opened_for_reading()
            self._forget_index()
            self._catch_up()
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error) from None
        self._retried_before = self._end if retry_unscored else 0

    def close(self) -> None:
        """Close the file; claims end."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Cache:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, key: bytes, *, user_id: str | None = None) -> Reply | Unscored | None:
        """What is kept under a key, by this process or another.

        Args:
            key: Of the request.
            user_id: Becomes an owner of what is found.

        Raises:
            StoreError: If the file cannot be read, or an owner not be written.
        """
        try:
            if user_id is not None and self._unwritable is not None:
                raise self._unwritable
            self._catch_up()
            newest = self._newest(key)
            if newest is None:
                return None
            offset, line = newest
            if line.kind == "unscored" and offset < self._retried_before:
                return None
            if user_id is not None and (owner := owner_of(user_id)) != line.owner:
                owners = (self._line_at(at)[0] for at in self._index.find(_hash(key) ^ _hash(owner)))
                if not any(known is not None and (known.key, known.owner) == (key, owner) for known in owners):
                    self._append(Line(key, owner, "owner"))
        except OSError as error:
            raise self._error(error) from None
        return line.result()

    def keep(self, key: bytes, user_id: str, result: Reply | Unscored) -> None:
        """Append a result; it survives a kill once this returns.

        Raises:
            StoreError: If the disk is full or the file cannot be written.
        """
        try:
            self._append(Line.of(key, user_id, result))
        except OSError as error:
            raise self._error(error) from None

    def claim(self, key: bytes) -> bool:
        """Whether this cache may ask for a key now: False while another one, of any process, does.

        The claim ends with `release`, `close` or the process, however that ends.
        """
        return _lock(self._opened, _claim_of(key))

    def release(self, key: bytes) -> None:
        """Let others ask for a key, or find what was kept under it."""
        _lock(self._opened, _claim_of(key), unlock=True)

    @property
    def n_bytes(self) -> int:
        """Size of the file, which grows while anybody keeps answers."""
        return self._opened.seek(0, os.SEEK_END)

    def erase(self, user_id: str) -> int:
        """Take a user out, so that no byte of their answers is left in any file; returns how many answers went.

        Answers that others own too stay with them. Damaged lines and damaged files that
        were set aside may hold anybody's text and go as well. Lines are overwritten where
        they stand, so that other processes may go on reading and appending.

        Raises:
            StoreError: If the file cannot be read or written.
        """
        owner = owner_of(user_id)
        try:
            _lock(self._opened, OPENING, wait=True)
            _write_all(self._opened, b"\n")  # ends a line that a kill cut short, so that it is seen below
            keys = self._keys_of(owner)
            heirs = {line.key: line.owner for _, line in self._lines() if line.key in keys and line.owner != owner}
            n_erased = sum(
                newest is not None and newest[1].kind == "answer" for newest in map(self._newest, keys - heirs.keys())
            )
            with self.path.open("r+b", buffering=0) as file:  # a file opened for appending writes nowhere else
                for offset, raw in self._raw_lines(len(HEADER)):
                    line = Line.from_bytes(raw)
                    if line is not None and line.owner != owner:
                        continue
                    instead = b" " * len(raw)
                    if line is not None and line.key in heirs and line.kind != "owner":
                        instead = replace(line, owner=heirs[line.key]).as_bytes()
                    file.seek(offset)
                    file.write(instead)
                os.fsync(file.fileno())  # erased is erased, after a power cut too
            self._remove_set_aside()
            self._forget_index()
            self._catch_up()
        except OSError as error:
            raise self._error(error) from None
        finally:
            _lock(self._opened, OPENING, unlock=True)
        return n_erased

    def clear(self) -> int:
        """Forget everything, damaged files that were set aside included; returns how many answers went.

        Raises:
            StoreError: If the file cannot be written.
        """
        n_answers = self.report().n_answers
        try:
            self._opened.truncate(len(HEADER))
            self._forget_index()
            self._remove_set_aside()
        except OSError as error:
            raise self._error(error) from None
        return n_answers

    def owns(self, user_id: str) -> bool:
        """Whether a user's data asked for anything that is kept."""
        return bool(self._keys_of(owner_of(user_id)))

    def keys_by_owner(self) -> dict[bytes, set[bytes]]:
        """The keys of what each owner's data asked for, in one pass over the file."""
        keys: dict[bytes, set[bytes]] = {}
        for _, line in self._lines():
            keys.setdefault(line.owner, set()).add(line.key)
        return keys

    def owned_by(self, user_id: str, keys: Mapping[bytes, set[bytes]] | None = None) -> list[dict[str, Any]]:
        """Every answer a user's data asked for, as JSON values in the order of their keys, for their export.

        Args:
            user_id: Whose.
            keys: What `keys_by_owner` gave, where many are exported.
        """
        owner = owner_of(user_id)
        owned = self._keys_of(owner) if keys is None else keys.get(owner, set())
        newest = map(self._newest, sorted(owned))
        return [json.loads(kept[1].text) for kept in newest if kept is not None and kept[1].kind == "answer"]

    def report(self) -> CacheReport:
        """What the file holds."""
        self._catch_up()
        models, n_unscored, owners = Counter[str](), 0, set()
        for offset, line in self._lines():
            owners.add(line.owner)
            if line.kind == "owner" or self._newest(line.key) != (offset, line):
                continue
            if line.kind == "unscored":
                n_unscored += 1
            else:
                models[json.loads(line.text)["model"]] += 1
        n_bytes = self.path.stat().st_size if self.path.exists() else 0
        by_model = sorted(models.items(), key=lambda model: (-model[1], model[0]))
        return CacheReport(n_bytes, models.total(), n_unscored, len(owners), tuple(by_model))

    def files_set_aside(self) -> list[Path]:
        """Damaged files that may still hold answers of anybody."""
        return sorted(self.path.parent.glob(f"{self.path.name}.damaged-*"))

    def _remove_set_aside(self) -> None:
        for aside in self.files_set_aside():
            aside.unlink()

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self.open()
        assert self._file is not None
        return self._file

    def _error(self, error: Exception | str) -> StoreError:
        return StoreError(f"cache {str(self.path)!r} cannot be used ({error}); check the path, the rights and the disk")

    def _is_ours(self, beginning: bytes) -> bool:
        version = re.match(rb"personalrm answers (\d+)\n", beginning)
        if version is not None and int(version[1]) > VERSION:
            raise _newer_version(self.path, int(version[1]))
        return version is not None

    def _opened_for_reading(self) -> IO[bytes]:
        with self.path.open("rb") as file:
            beginning = file.read(len(HEADER) + 10)
        if self._is_ours(beginning):
            return self.path.open("rb", buffering=0)
        memory = io.BytesIO(HEADER)
        if beginning.startswith(SQLITE):
            try:
                self._convert(memory, writable=False)
            except _Damaged:
                raise self._error("it is damaged") from None
        elif not HEADER.startswith(beginning):
            raise self._error("it is damaged")
        return memory

    def _opened_for_writing(self) -> IO[bytes]:
        while True:
            file = io.FileIO(self.path, "a+b", opener=open_private)
            try:
                _lock(file, OPENING, wait=True)
                # Another process may have replaced the file while this one waited for the lock.
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()) and self._is_in_order(file):
                    _lock(file, OPENING, unlock=True)
                    return file
            except FileNotFoundError:
                pass
            except BaseException:
                file.close()
                raise
            file.close()

    def _is_in_order(self, file: IO[bytes]) -> bool:
        """Begin a new file and take up what earlier versions left; False if the path has another file now."""
        file.seek(0)
        beginning = file.read(len(HEADER) + 10)
        if self._is_ours(beginning):
            pass  # never written anew, even without answers: another process may append its first one now
        elif HEADER.startswith(beginning):  # empty, or its first writer was killed
            file.truncate(0)
            _write_all(file, HEADER)
        else:
            if sys.platform == "win32":
                file.close()  # an open file cannot be replaced there
            self._replace_old(is_database=beginning.startswith(SQLITE))
            return False
        for journal, lines in _journals(self.path):
            for line in lines:
                _write_all(file, b"\n" + line.as_bytes() + b"\n")
            journal.unlink()
        return True

    def _replace_old(self, *, is_database: bool) -> None:
        """Put lines in place of an earlier version's database; move away what is damaged."""
        # Where SQLite left what a killed transaction of an earlier version had changed.
        rollback = self.path.with_name(self.path.name + "-journal")
        if is_database:
            lines = self.path.with_name(self.path.name + ".new")
            try:
                with open(lines, "wb", opener=open_private) as file:
                    file.write(HEADER)
                    self._convert(file, writable=True)
                os.replace(lines, self.path)
                rollback.unlink(missing_ok=True)
            except _Damaged:
                pass
            else:
                return
            finally:
                lines.unlink(missing_ok=True)
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        os.replace(self.path, aside)
        if rollback.exists():
            os.replace(rollback, aside.with_name(aside.name + "-journal"))
        self.set_aside = aside

    def _convert(self, file: IO[bytes], *, writable: bool) -> None:
        file.seek(0, os.SEEK_END)
        for line in _lines_of_database(self.path, writable=writable):
            if line is None:
                self.n_damaged += 1
            else:
                file.write(line.as_bytes() + b"\n")

    def _forget_index(self, n_lines: int = 0) -> None:
        self._index = LineIndex(n_lines)
        """Results by the hash of their key, further owners by that of key and owner."""
        self._end = 0
        """Up to where the file is in the index."""

    def _catch_up(self) -> None:
        """Read what was appended, by this process or another, since the last look."""
        size = self._opened.seek(0, os.SEEK_END)
        if size < self._end:  # another process cleared it
            self._forget_index()
        if size == self._end:
            return
        if self._end == 0:
            sample = self._read(0, CHUNK)
            self._forget_index(n_lines=sample.count(b"}\n") * size // len(sample))
        for offset, raw in self._raw_lines(self._end):
            self._end = offset + len(raw) + 1
            self._note(offset, raw)

    def _note(self, offset: int, raw: bytes) -> None:
        """Put a line into the index; whether it is sound is seen when somebody wants it."""
        try:
            line_hash = int(raw[9:17], 16)
            if raw[KIND_AT : KIND_AT + 1] == b"o":
                line_hash ^= int(raw[OWNER_AT : OWNER_AT + 8], 16)
            self._index.add(line_hash, offset)
        except (ValueError, OverflowError):  # damaged beyond recognition
            return

    def _append(self, line: Line) -> None:
        raw = line.as_bytes()
        # Begins with a line end too: what a kill or a full disk cut short before it must not spoil this line.
        _write_all(self._opened, b"\n" + raw + b"\n")
        stop = self._opened.tell()
        start = stop - len(raw) - 1
        self._note(start, raw)
        if start - 1 == self._end:  # no other process appended in between
            self._end = stop

    def _read(self, offset: int, size: int) -> bytes:
        self._opened.seek(offset)
        return self._opened.read(size)

    def _raw_lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Where each whole line from `start` on begins, and its bytes."""
        size = CHUNK
        while True:
            chunk = self._read(start, size)
            end = chunk.rfind(b"\n")
            if end >= 0:
                for raw in chunk[:end].split(b"\n"):
                    if raw:  # an empty line guards the one after it
                        yield start, raw
                    start += len(raw) + 1
                size = CHUNK
            elif len(chunk) < size:  # the end; a line that another process is writing, or that a kill cut short
                return
            else:
                size *= 2

    def _lines(self) -> Iterator[tuple[int, Line]]:
        """Every sound line and where it begins."""
        for offset, raw in self._raw_lines(0):
            if (line := Line.from_bytes(raw)) is not None:
                yield offset, line

    def _line_at(self, offset: int) -> tuple[Line | None, bool]:
        """The line that begins at an offset, if it is sound, and whether it is blank, so that it was erased."""
        size = LINE
        while (end := (raw := self._read(offset, size)).find(b"\n")) < 0 and len(raw) == size:
            size *= 8
        raw = raw[:end] if end >= 0 else raw
        return Line.from_bytes(raw), not raw.strip()

    def _newest(self, key: bytes) -> tuple[int, Line] | None:
        """The newest answer under a key, else the newest note that there was none; with where its line begins."""
        newest: tuple[int, Line] | None = None
        is_damaged = False
        for offset in self._index.find(_hash(key)):
            line, is_blank = self._line_at(offset)
            is_damaged |= line is None and not is_blank
            if line is not None and line.key == key and line.kind != "owner":
                if line.kind == "answer":
                    return offset, line
                newest = newest or (offset, line)
        self.n_damaged += is_damaged and newest is None
        return newest

    def _keys_of(self, owner: bytes) -> set[bytes]:
        return {line.key for _, line in self._lines() if line.owner == owner}


def _newer_version(path: Path, version: int) -> NewerVersion:
    return NewerVersion(f"cache {str(path)!r} has version {version}, this personalrm reads up to {VERSION}; upgrade it")


def _hash(text: bytes) -> int:
    return int.from_bytes(text[:4], "big")


def _write_all(file: IO[bytes], text: bytes) -> None:
    file.seek(0, os.SEEK_END)  # a file opened for appending does so anyway, one in memory does not
    if file.write(text) < len(text):
        raise OSError("no space is left")


def _claim_of(key: bytes) -> int:
    """The byte that is locked while a key is asked for."""
    return CLAIMS | int.from_bytes(key[:7], "big")


def _lock(file: IO[bytes], byte: int, *, wait: bool = False, unlock: bool = False) -> bool:
    """Lock or unlock a byte for this file object; False if another has it.

    The system unlocks it when the file is closed or the process ends, however that ends.
    """
    if isinstance(file, io.BytesIO) or sys.platform == "win32":
        return True
    try:
        if sys.platform == "linux":
            kind = fcntl.F_UNLCK if unlock else fcntl.F_WRLCK
            command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
            fcntl.fcntl(file, command, struct.pack("hhqqi", kind, os.SEEK_SET, byte, 1, 0))
        else:  # belongs to the process: two caches in one process do not wait for each other
            fcntl.lockf(file, (fcntl.LOCK_UN if unlock else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB), 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: two processes may then pay for one answer each
        pass
    return True


class _Damaged(Exception):
    """The file cannot be read as what it began as."""


def _lines_of_database(path: Path, *, writable: bool) -> Iterator[Line | None]:
    """Everything in an SQLite cache; None for each answer that was changed on disk.

    Args:
        path: The file.
        writable: Whether a transaction that a kill cut short may be rolled back.

    Raises:
        _Damaged: If the database is.
        NewerVersion: If a later personalrm wrote it.
        StoreError: If it is another program's, or locked.
    """
    try:
        where = f"{path.resolve().as_uri()}?mode={'rw' if writable else 'ro'}"
        with closing(sqlite3.connect(where, uri=True, timeout=30.0)) as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version > VERSION:
                raise _newer_version(path, version)
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise _Damaged
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables <= {"answers", "owners", "unscored"}:
                raise StoreError(f"{str(path)!r} is a database of another program; give another path for the cache")
            if not tables:
                return
            latest = b""
            for key, kept, owner in db.execute(_ROWS.format(table="answers")):
                if key == latest:
                    yield Line(key, owner, "owner")
                    continue
                latest, text = key, kept[CHECKSUM:]
                checksum = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=CHECKSUM // 2)
                yield Line(key, owner or NOBODY, "answer", text) if kept[:CHECKSUM] == checksum.hexdigest() else None
            for key, reason, attempts, owner in db.execute(_ROWS.format(table="unscored")):
                yield Line(key, owner or NOBODY, "unscored", json.dumps([reason, attempts]))
    except sqlite3.OperationalError as error:
        raise StoreError(f"cache {str(path)!r} cannot be used ({error}); check the file") from None
    except sqlite3.DatabaseError:
        raise _Damaged from None


def _journals(path: Path) -> Iterator[tuple[Path, list[Line]]]:
    """Journals of dead processes beside a cache, with the sound lines in each.

    A process that is alive holds a lock on its journals; those are passed over.
    """
    if sys.platform == "win32":
        return  # cannot tell the living from the dead there
    for journal in sorted(path.parent.glob(f"{path.name}{JOURNAL}*")):
        with suppress(FileNotFoundError, BlockingIOError), journal.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lines = (Line.from_bytes(line) for line in opened.read().split(b"\n"))
            yield journal, [line for line in lines if line is not None]
