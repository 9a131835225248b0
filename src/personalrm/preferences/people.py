"""The example preferences that ship: invented people, written for this project.

`people/preferences.jsonl` is what methods see. `people/tastes.json` says what each
person really likes; no method reads it, only tests and validity checks do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from personalrm.preferences.reading.files import read_pairs
from personalrm.preferences.users import User


def example_users() -> list[User]:
    """The invented people, in the order of the file."""
    with as_file(files("personalrm") / "people" / "preferences.jsonl") as path:
        return list(read_pairs(path).values())


def example_path() -> Path:
    """Where the example preferences lie on disk."""
    return Path(str(files("personalrm") / "people" / "preferences.jsonl"))


@dataclass(frozen=True)
class ExampleTaste:
    """What an invented person really likes."""

    kind: str
    """`style`, `content`, or `changing` from one to another."""
    taste: str
    """In a sentence."""
    false_tastes: tuple[str, ...]
    """The opposite, and somebody else's."""


def example_tastes() -> dict[str, ExampleTaste]:
    """The hidden taste of every invented person, by user id; for tests and validity checks only."""
    rows = json.loads((files("personalrm") / "people" / "tastes.json").read_text(encoding="utf-8"))
    return {
        user: ExampleTaste(row["kind"], row["taste"], tuple(taste["taste"] for taste in row["false_tastes"]))
        for user, row in rows.items()
    }
