"""Files that are there whole or not at all, and stay there after the power goes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, pieces: Iterable[str | bytes]) -> None:
    """Write a file under a temporary name, flush it to disk and rename it; an older one is replaced.

    Args:
        path: Where it goes; the folder must exist.
        pieces: Parts of its text or bytes, in order.

    Raises:
        OSError: If the disk refuses; what was there before is still there.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece.encode("utf-8") if isinstance(piece, str) else piece)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0o077)  # the process's mask of rights can only be read by setting it
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)  # mkstemp makes files only their owner may read
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder, so that a rename inside it survives a power cut; not on Windows, which cannot be asked to."""
    if sys.platform == "win32":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
