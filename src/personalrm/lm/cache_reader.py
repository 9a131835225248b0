"""Looking into a cache of answers without touching it: for forecasts and for `cache info`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.errors import StoreError
from personalrm.lm.cache import Cache, read_only
from personalrm.lm.entries import CHECKSUM, Unscored
from personalrm.lm.protocol import Reply


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
    """Answers by the name the server gave its model, most first; damaged answers under an empty name."""


class CacheReader:
    """A cache that is only read; a file that is not there is an empty one.

    Raises:
        NewerVersion: If a later personalrm wrote it.
        StoreError: If it is damaged or cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._cache: Cache | None = read_only(self._path) if self._path.exists() else None

    def find(self, key: bytes) -> Reply | Unscored | None:
        """What is kept under a key."""
        return self._cache.find([key])[0] if self._cache is not None else None

    def report(self) -> CacheReport:
        """What the file holds."""
        if self._cache is None:
            return CacheReport()
        n_answers, n_unscored, n_owners = (
            self._one(f"SELECT COUNT({what}) FROM {table}")
            for what, table in (("*", "answers"), ("*", "unscored"), ("DISTINCT owner", "owners"))
        )
        return CacheReport(self._path.stat().st_size, n_answers, n_unscored, n_owners, self._by_model())

    def close(self) -> None:
        """Close the file."""
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> CacheReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _by_model(self) -> tuple[tuple[str, int], ...]:
        text = f"substr(answer, {CHECKSUM + 1})"
        model = f"CASE WHEN json_valid({text}) THEN json_extract({text}, '$.model') ELSE '' END"
        rows = self._rows(f"SELECT {model}, COUNT(*) FROM answers GROUP BY 1 ORDER BY 2 DESC, 1")
        return tuple((str(name or ""), int(n)) for name, n in rows)

    def _one(self, query: str) -> int:
        return int(self._rows(query)[0][0])

    def _rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        assert self._cache is not None
        try:
            return self._cache.query(query)
        except sqlite3.Error as error:
            raise StoreError(f"cache {str(self._path)!r} cannot be read ({error}); check the file") from None
