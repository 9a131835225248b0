"""The cache of one run, beside its event loop: noted at once, moved into SQLite later, found in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from personalrm.errors import StoreError
from personalrm.lm.cache import Cache
from personalrm.lm.entries import Entry, Unscored
from personalrm.lm.grouped import Grouped
from personalrm.lm.journal import Journal
from personalrm.lm.protocol import Reply

PAUSE_S = 0.25
"""Between two moves: few large transactions take less of the interpreter than many small ones."""


class Keeping:
    """What is known already, and where new answers go; used inside one event loop.

    The keys of all kept answers are read into memory at the start, 16 bytes each and 83
    with Python's own (measured: 83 MB for a million), so that a new request costs no look-up.

    Args:
        cache: The file; None keeps nothing.
        failed: Told when answers cannot be moved into the file; they stay in the journal.
    """

    def __init__(self, cache: Cache | None, failed: Callable[[StoreError], None]) -> None:
        self.cache, self._failed = cache, failed
        self._journal = Journal(cache.path) if cache is not None else None
        self._known: set[bytes] = set()
        self._fresh: dict[bytes, Reply | Unscored] = {}
        self._moving: dict[bytes, Reply | Unscored] = {}
        self._mover: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._is_broken = False
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="personalrm-cache")
        self._find = Grouped(self._find_all, self._disk)

    def open(self, *, with_unscored: bool) -> None:
        """Open the file and learn what it holds; blocks.

        Args:
            with_unscored: Whether requests without a usable answer count as known.

        Raises:
            StoreError: If the file cannot be used.
        """
        if self.cache is not None:
            self._known = self._disk.submit(self.cache.open).result()
            if with_unscored:
                self._known |= self._disk.submit(self.cache.unscored_keys).result()

    async def find(self, key: bytes) -> Reply | Unscored | None:
        """What is kept under a key, if anything."""
        if key not in self._known:
            return None
        return self._fresh.get(key) or self._moving.get(key) or await self._find(key)

    def note(self, entry: Entry) -> None:
        """Keep an entry: it survives a kill once this returns.

        Raises:
            StoreError: If the disk is full or the journal cannot be written.
        """
        if self._journal is None:
            return
        self._journal.add(entry)
        if entry.result is not None:
            self._fresh[entry.key] = entry.result
            self._known.add(entry.key)
        if self._mover is None:
            self._mover = asyncio.get_running_loop().create_task(self._move())

    async def _move(self) -> None:
        """Move what was noted into SQLite, again and again until nothing new came in."""
        assert self._journal is not None
        assert self.cache is not None
        while not (self._journal.is_empty or self._is_broken):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), PAUSE_S)
            rows = self._journal.turn()
            self._moving, self._fresh = self._fresh, {}
            try:
                await asyncio.get_running_loop().run_in_executor(self._disk, self.cache.keep_rows, rows)
                self._journal.moved()
            except StoreError as error:
                self._is_broken = True
                self._fresh = self._moving | self._fresh
                self._failed(error)
            self._moving = {}
        self._mover = None

    async def finish(self) -> None:
        """Move what is left and let go of the journal."""
        self._hurry.set()
        await self._find.idle()
        if self._mover is not None:
            await self._mover
        if self._journal is not None:
            self._journal.close(everything_moved=not self._is_broken)

    def close(self) -> None:
        """Let go of file and thread; blocks."""
        if self.cache is not None:
            self._disk.submit(self.cache.close).result()
        self._disk.shutdown()

    def _find_all(self, keys: Sequence[bytes]) -> Sequence[Reply | Unscored | None]:
        return self.cache.find(keys) if self.cache is not None else [None] * len(keys)
