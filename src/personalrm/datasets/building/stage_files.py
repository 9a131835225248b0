"""What a stage leaves on disk: its pairs user by user, and a card that says what they are.

NN-name.jsonl.gz   one pair a line, the pairs of a user next to each other
NN-name.json       what it was made from and its funnel row; written last, so it stands for a finished stage
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from personalrm.datasets.building.funnel import StageRow
from personalrm.errors import BadRow, StoreError
from personalrm.preferences.prompt_json import pair_from_dict, pair_to_dict
from personalrm.preferences.users import User
from personalrm.typed_values import saved_object, saved_value
from personalrm.whole_files import replace_file, sync_folder

AGAIN = "run the build again"
_UNREADABLE = (OSError, EOFError, zlib.error)
"""What gzip raises on a file that is damaged."""


@dataclass(frozen=True, repr=False)
class StageCard:
    """A finished stage."""

    key: str
    """Hash of all that decides its rows: the stage, its settings, the rows it began with."""
    rows: str
    """SHA-256 of its rows, before compression."""
    funnel: StageRow


@dataclass(frozen=True)
class WrittenUsers:
    """What went into a file."""

    rows: str
    """SHA-256 of the rows."""
    n_pairs: int
    n_users: int


def write_users(path: Path, users: Iterable[User]) -> WrittenUsers:
    """What was written: the users' pairs, under a temporary name, then renamed; memory holds one user.

    Raises:
        StoreError: If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".new-{path.name}")
    digest, n_pairs, n_users = hashlib.sha256(), 0, 0
    try:
        with temporary.open("wb") as file:
            # Level 1: a stage is read once or twice, so time counts for more than size. Neither name nor time in the
            # header, so that the bytes say nothing but the rows.
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
                for user in users:
                    n_users += 1
                    for pair in user.pairs:
                        row = {**pair_to_dict(pair), "meta": dict(pair.meta)}
                        line = json.dumps(row, ensure_ascii=False, sort_keys=True, default=str).encode() + b"\n"
                        digest.update(line)
                        packed.write(line)
                        n_pairs += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path.parent, error) from None
    return WrittenUsers(digest.hexdigest(), n_pairs, n_users)


def read_users(path: Path) -> Iterator[User]:
    """The users as they were written.

    Raises:
        StoreError: If the file is gone or damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            rows = map(json.loads, lines)
            pairs = (replace(pair_from_dict(row), meta=row["meta"]) for row in rows)
            for user_id, of_user in groupby(pairs, key=lambda pair: pair.user_id):
                yield User(user_id, tuple(of_user))
    except (*_UNREADABLE, ValueError, TypeError, KeyError, RecursionError, BadRow) as error:
        raise StoreError(f"stage {path.name!r} is damaged ({type(error).__name__}); {AGAIN}") from None


def rows_hash(path: Path) -> str:
    """SHA-256 of the rows in a file; empty when it is gone or damaged."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") as packed:
            while block := packed.read(1 << 20):
                digest.update(block)
    except _UNREADABLE:
        return ""
    return digest.hexdigest()


def read_card(path: Path) -> StageCard | None:
    """The card of a finished stage; None when there is none or it cannot be read."""
    try:
        content = saved_object(path.read_text(encoding="utf-8"), str(path), again=AGAIN)
        return saved_value(StageCard, content, str(path), again=AGAIN)
    except (OSError, UnicodeDecodeError):  # CorruptFile is an OSError
        return None


def write_json(path: Path, content: Any) -> None:
    """A JSON document, whole or not at all.

    Raises:
        StoreError: If the disk is full or the folder cannot be written.
    """
    try:
        replace_file(path, [json.dumps(content, ensure_ascii=False, indent=2) + "\n"])
    except OSError as error:
        raise cannot_write(path.parent, error) from None


def cannot_write(folder: Path, error: OSError) -> StoreError:
    """What to say when a folder cannot be written."""
    reason = error.strerror or type(error).__name__
    return StoreError(f"{str(folder)!r} cannot be written ({reason}); check the rights and the disk")
