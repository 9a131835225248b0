"""Files that are there whole or not at all, that stay after the power goes, and that only their owner can read.

Whatever a home folder holds is private: files 0600, folders 0700, whatever the umask says, which is why the rights
are set after a file is made.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

FILE, FOLDER = 0o600, 0o700
UNFINISHED = ".new-"
"""How the name of a file begins until it is whole; a kill may leave one."""


def replace_file(path: Path, pieces: Iterable[str | bytes], *, is_private: bool = False) -> None:
    """Write a file under a temporary name, flush it to disk and rename it; an older one is replaced.

    Args:
        path: Where it goes; the folder must exist.
        pieces: Parts of its text or bytes, in order.
        is_private: Whether only the owner may read it, as everything in a home folder.

    Raises:
        OSError: If the disk refuses; what was there before is still there.
    """
    with whole_file(path, is_private=is_private) as file:
        for piece in pieces:
            file.write(piece.encode("utf-8") if isinstance(piece, str) else piece)


@contextmanager
def whole_file(path: Path, *, is_private: bool = False) -> Iterator[IO[bytes]]:
    """A file to be written piece by piece, which takes its name at the end; after a failure nothing is left of it.

    Raises:
        OSError: If the disk refuses.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0o077)  # the process's mask of rights can only be read by setting it
        os.umask(mask)
        os.chmod(name, FILE if is_private else 0o666 & ~mask)  # mkstemp makes files only their owner may read
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def private_folder(path: Path) -> None:
    """Make the folder and those above it that are missing, for their owner alone; one that is there stays as it is.

    Raises:
        OSError: If the disk refuses.
    """
    missing: list[Path] = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)  # another process may be quicker
        os.chmod(folder, FOLDER)


def open_private(path: str | Path, flags: int) -> int:
    """As the `opener` of `open`: a file that is made is its owner's alone, one that is there stays as it is."""
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL if flags & os.O_CREAT else flags, FILE)
    except FileExistsError:
        return os.open(path, flags, FILE)
    if flags & os.O_CREAT:
        os.chmod(path, FILE)
    return handle


def make_private(path: Path) -> None:
    """Take the rights of everybody else to a file, or to a folder with all that is in it, which others have written."""
    if path.is_symlink():
        return
    os.chmod(path, FOLDER if path.is_dir() else FILE)
    for inner in path.iterdir() if path.is_dir() else ():
        make_private(inner)


def sync_folder(folder: Path) -> None:
    """Flush a folder, so that a rename inside it survives a power cut; not on Windows, which cannot be asked to."""
    if sys.platform == "win32":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
