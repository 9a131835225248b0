"""Overwrites what is left of erased rows in an SQLite file, without rewriting the file.

`secure_delete` clears rows and pages that are freed. It leaves copies: when SQLite splits or joins pages, it writes the
cells of a page anew and does not clear where they stood before. These copies lie in the gap that each page has between
the list of its cells and the cells. `VACUUM` gets rid of them by writing everything twice, which takes most of a minute
for 100,000 people; here the gaps alone are overwritten, where they stand.

No statement does that, so the file is written beside SQLite, and stays sound since

- it is done under SQLite's exclusive lock: nobody reads or writes meanwhile;
- only bytes change that belong to no cell, so that a kill or a power cut at any moment leaves a database that says
  the same;
- the transaction ends with a write of SQLite's own, which tells every other connection to drop the pages it remembers:
  none writes back a gap as it was.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from io import RawIOBase
from pathlib import Path

HEADER_BYTES = {2: 12, 10: 8, 5: 12, 13: 8}
"""Of a page by its first byte: inner pages and leaves of an index, of a table."""
MOST_PAGES = 1 << 25
"""Any other page begins with the number of a page, of which the first byte is 0 or 1 up to here."""
PAGES_AT_ONCE = 1024
NOTE = (
    "INSERT INTO facts (name, value) VALUES ('overwritten', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
"""Says whether what was erased is overwritten: `no` from the moment it is erased, so that a kill is made up for."""


LEFT_OPEN: list[RawIOBase] = []


def overwrite_gaps(path: Path, lock_wait_s: float) -> bool:
    """Overwrite the gaps of all pages with zeros, for good; False where the file is not laid out as expected.

    Args:
        path: Of a database in which everything was erased with `secure_delete`, without a write-ahead log.
        lock_wait_s: How long to wait for others who read or write.

    Raises:
        sqlite3.Error: If somebody else works with the file for longer, or it is damaged.
        OSError: If it cannot be written.
    """
    with closing(sqlite3.connect(path, timeout=lock_wait_s, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN EXCLUSIVE")
        file = path.open("r+b", buffering=0)
        try:
            if is_done := _overwrite(file):
                connection.execute(NOTE, ("yes",))
            connection.execute("COMMIT")
        finally:
            _close(file, connection)
    return is_done


def _close(file: RawIOBase, connection: sqlite3.Connection) -> None:
    """Close a handle of the file whose locks are held by connections.

    On POSIX systems to close one of a process's handles drops all its locks on the file, those of other threads too.
    Under an exclusive lock no other thread has one, and this thread has nothing left to write.
    """
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("BEGIN EXCLUSIVE")
        file.close()
        connection.execute("ROLLBACK")
    except sqlite3.Error:
        if not file.closed:
            LEFT_OPEN.append(file)  # others work with it for longer than anybody waits; closed when the process ends


def _overwrite(file: RawIOBase) -> bool:
    """Clear the gaps of a locked file; False, and nothing more is written, at a page that is not as expected."""
    header = file.read(100) or b""
    page_bytes = int.from_bytes(header[16:18], "big")
    page_bytes = 1 << 16 if page_bytes == 1 else page_bytes
    usable, n_pages = page_bytes - header[20], file.seek(0, os.SEEK_END) // page_bytes
    moves_pages = any(header[52:56])  # auto_vacuum, which keeps pages of another kind among them
    if n_pages >= MOST_PAGES or moves_pages:
        return False
    zeros = bytes(page_bytes)
    # The first page holds the names of the tables, and rows of none.
    for beginning in range(page_bytes, n_pages * page_bytes, PAGES_AT_ONCE * page_bytes):
        file.seek(beginning)
        block = file.read(PAGES_AT_ONCE * page_bytes) or b""
        for page in range(0, len(block) - page_bytes + 1, page_bytes):
            n_header = HEADER_BYTES.get(block[page])
            if n_header is None:
                continue
            _, first_free, n_cells, content = struct.unpack_from(">BHHH", block, page)
            content = content or 1 << 16
            gap = n_header + 2 * n_cells
            if not gap <= content <= usable:
                return False
            if block[page + gap : page + content] == zeros[: content - gap]:
                continue
            cells = struct.unpack_from(f">{n_cells}H", block, page + n_header)
            if min(cells, default=content) < content or 0 < first_free < content:
                return False
            file.seek(beginning + page + gap)
            file.write(zeros[: content - gap])
    os.fsync(file.fileno())
    return True
