"""The index of a home folder: when each version was saved, an append-only log beside the truth.

It holds what must not be in the versions (dates), can be cut short or lost without losing
a prompt, and two processes may append to it. Users stand in it by their hash.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personalrm.store.atomic import replace_file


class Index:
    """Dates of versions; the constructor touches nothing.

    Args:
        path: The file; made at the first note. Reading and writing raise `OSError` where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, user: str, number: int) -> None:
        """Append that this version of a user, named by their hash, was saved now."""
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = json.dumps({"user": user, "version": number, "date": date})
        with self.path.open("ab+") as index:
            if index.tell():
                index.seek(-1, os.SEEK_END)  # a line that was cut short must not swallow this one
                entry = entry if index.read() == b"\n" else "\n" + entry
            index.write(entry.encode() + b"\n")

    def dates(self, user: str | None = None) -> Mapping[str, Mapping[int, str]]:
        """ISO dates in UTC by version number, by the hash of the user; damaged lines say nothing.

        Args:
            user: Whose dates, by their hash; None means everybody's.
        """
        found: dict[str, dict[int, str]] = {}
        for entry in map(_entry, self._lines()):
            owner, number = entry.get("user"), entry.get("version")
            if isinstance(owner, str) and isinstance(number, int) and user in (None, owner):
                found.setdefault(owner, {})[number] = str(entry.get("date", ""))
        return found

    def mentions(self, user: str) -> bool:
        """Whether any line names the user, damaged ones too."""
        return any(user in line for line in self._lines())

    def forget(self, user: str) -> None:
        """Take out every line that names the user, damaged ones too."""
        kept = [line for line in self._lines() if user not in line]
        replace_file(self.path, (line + "\n" for line in kept))

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []


def _entry(line: str) -> dict[str, Any]:
    """A line of the index; one that was cut short says nothing."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}
