"""Answers on their way into the cache: appended to a file at once, moved into SQLite in groups.

A commit of SQLite needs a thread and milliseconds, one append microseconds; both survive
a kill of the process. (Neither waits for the disk itself at each answer: after a power
cut the last moments are asked again.) Two files take turns, one is written while the
other is moved. Each is locked by its process, so that whoever opens the cache next can
tell what a killed one left behind, and moves it.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from personalrm.errors import StoreError
from personalrm.lm.entries import Entry, Row

if sys.platform != "win32":
    import fcntl

SUFFIX = ".arrived-"


class Journal:
    """The two files of one process, made when the first answer arrives.

    Args:
        path: The cache's; `:memory:` has no files, and then nothing survives anyway.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[tuple[int, Path]] = []
        self._turn = 0
        self._rows: list[Row] = []

    def add(self, entry: Entry) -> None:
        """Append an entry; it survives a kill once this returns.

        Raises:
            StoreError: If the disk is full or the file cannot be written.
        """
        row = Row.of(entry)
        if str(self._path) != ":memory:":
            self._write(b"\n" + row.line())  # a line that a full disk cut off must not spoil the next
        self._rows.append(row)

    def _write(self, line: bytes) -> None:
        try:
            if not self._files:
                self._files = [_new_file(self._path), _new_file(self._path)]
            n_written = os.write(self._files[self._turn][0], line)
        except OSError as error:
            raise store_error(self._path, error) from None
        if n_written < len(line):
            raise store_error(self._path, OSError("no space is left"))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since the last turn."""
        return not self._rows

    def turn(self) -> list[Row]:
        """What was added since the last turn; from now on the other file is written."""
        rows, self._rows = self._rows, []
        self._turn = 1 - self._turn
        return rows

    def moved(self) -> None:
        """What the last turn gave is safe in SQLite: its file may be emptied.

        Raises:
            StoreError: If that fails.
        """
        try:
            if self._files:
                os.ftruncate(self._files[1 - self._turn][0], 0)
        except OSError as error:
            raise store_error(self._path, error) from None

    def close(self, *, everything_moved: bool) -> None:
        """Let go of the files; what was not moved stays for whoever opens the cache next."""
        for descriptor, file in self._files:
            if everything_moved and sys.platform != "win32":
                file.unlink(missing_ok=True)  # before the lock goes, so that nobody reads it in between
            os.close(descriptor)
            if everything_moved:
                file.unlink(missing_ok=True)
        self._files = []


def take_over(path: Path, keep: Callable[[Sequence[Row]], None]) -> None:
    """Hand what killed processes left behind to `keep`, then remove it.

    Damaged lines, as a kill leaves them at the end, are passed over: their answers were
    never handed out. Keeping the same rows twice must do no harm.
    """
    for file in sorted(path.parent.iterdir()):
        if file.name.startswith(path.name + SUFFIX):
            with suppress(FileNotFoundError, BlockingIOError):  # taken over, or written, by somebody else
                _take(file, keep)


def _take(file: Path, keep: Callable[[Sequence[Row]], None]) -> None:
    with file.open("rb") as opened:
        _lock(opened.fileno())
        keep([row for line in opened.read().split(b"\n") if (row := Row.from_line(line)) is not None])
        if sys.platform != "win32":
            file.unlink(missing_ok=True)
    if sys.platform == "win32":
        with suppress(PermissionError):  # its process is alive; there open files cannot be removed
            file.unlink(missing_ok=True)


def _new_file(path: Path) -> tuple[int, Path]:
    while True:
        file = path.with_name(f"{path.name}{SUFFIX}{secrets.token_hex(8)}")
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            _lock(descriptor)
            if file.exists():
                return descriptor, file
        except BlockingIOError:
            pass
        os.close(descriptor)  # somebody who looked for left files was quicker than our lock


def _lock(descriptor: int) -> None:
    """Take the lock or raise `BlockingIOError`; it goes with the process, however that ends."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def store_error(path: Path, error: Exception) -> StoreError:
    """What to tell about a cache that fails."""
    return StoreError(f"cache {str(path)!r} cannot be used ({error}); check the path, the rights and the disk")
