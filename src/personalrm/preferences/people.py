"""The example preferences that ship: invented people, written for this project.

`people/preferences.jsonl` is what methods see. `people/tastes.json` says what each
person really likes; no method reads it, only tests and validity checks do.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from personalrm.preferences.reading import read_pairs
from personalrm.preferences.users import User


def example_users() -> list[User]:
    """The invented people, in the order of the file."""
    with as_file(files("personalrm") / "people" / "preferences.jsonl") as path:
        return list(read_pairs(path).values())


def example_path() -> Path:
    """Where the example preferences lie on disk."""
    return Path(str(files("personalrm") / "people" / "preferences.jsonl"))
