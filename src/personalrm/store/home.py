"""The home folder: every user's personal prompts, version by version.

    <home>/users/<hash of the id>/v0001.json           the truth; written once, never changed
    <home>/users/<hash of the id>/v0002.json.damaged   set aside by a fit that could not read it
    <home>/index.jsonl                                 dates of the versions, one line each

A version is written to a temporary file, flushed to disk and renamed, so it is there
whole or not at all. The index is an append-only log beside the truth: it holds what must
not be in the versions (dates), can be cut short or lost without losing a prompt, and two
processes may append to it. User ids never reach the file system, only their hashes do.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from personalrm.errors import CorruptFile, NewerVersion, StoreError, UnknownUser
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.store.atomic import replace_file, sync_folder

DAMAGED = ".damaged"
"""What is put behind the name of a version that was set aside."""
VERSION_NAME = re.compile(rf"v([0-9]{{4,}})\.json({re.escape(DAMAGED)}[0-9]*)?")


@dataclass(frozen=True)
class Version:
    """One saved prompt of a user."""

    number: int
    """1 is the first."""
    date: str
    """When it was saved, ISO 8601 in UTC; empty when the index does not know."""


def _refuse(error: StoreError) -> None:
    raise error


class Home:
    """A folder of personal prompts; the constructor touches nothing.

    Args:
        path: The folder; made at the first save.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def save(self, prompt: PersonalPrompt) -> int:
        """Store the prompt as a new version, unless it equals the newest one; returns the version's number.

        Raises:
            StoreError: If the folder cannot be written.
        """
        text = prompt_to_json(prompt)
        folder = self._folder(prompt.user_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                newest = max(self._numbers(folder), default=0)
                if newest and _holds(folder / _file_name(newest), text):
                    return newest
                following = 1 + max(self._numbers(folder, with_damaged=True), default=0)
                if _write_new(folder / _file_name(following), text):
                    self._note(prompt.user_id, following)
                    return following
        except OSError as error:
            raise _store_error(self.path, "written", error) from None

    def load(self, user_id: str, version: int | None = None) -> PersonalPrompt:
        """A user's newest prompt, or the version asked for.

        Raises:
            UnknownUser: If there is no such user or version.
            CorruptFile: If the file is damaged.
        """
        numbers = [one.number for one in self.versions(user_id)]
        number = numbers[-1] if version is None else version
        if number not in numbers:
            raise UnknownUser(f"user {user_id!r} has no version {number}; there are {len(numbers)}")
        return self._read(self._folder(user_id) / _file_name(number))

    def restore(self, user_id: str, version: int) -> int:
        """Make an earlier version the newest again, as a version of its own; returns its number.

        Nothing is lost: what was the newest stays in the history. A version that is the newest already stays so.

        Raises:
            UnknownUser: If there is no such user or version.
            CorruptFile: If that version is damaged.
        """
        return self.save(self.load(user_id, version))

    def newest(self, user_id: str) -> PersonalPrompt | None:
        """A user's newest prompt, or None for somebody not seen yet."""
        numbers = self._numbers(self._folder(user_id))
        return self._read(self._folder(user_id) / _file_name(numbers[-1])) if numbers else None

    def newest_or_set_aside(self, user_id: str, *, only_look: bool = False) -> tuple[PersonalPrompt | None, str]:
        """A user's newest prompt that can be read, or None; and a sentence on what was damaged, else empty.

        For a fit, which must go on: each damaged version on the way is renamed, `v0002.json` to
        `v0002.json.damaged`, so nothing is lost and its number is not given again. With `only_look` nothing is renamed.

        Raises:
            NewerVersion: If a later personalrm wrote the newest version, which is no damage.
            StoreError: If the folder cannot be read or written.
        """
        folder = self._folder(user_id)
        aside: list[str] = []
        prompt = None
        for number in reversed(self._numbers(folder)):
            try:
                prompt = self._read(folder / _file_name(number))
                break
            except CorruptFile:
                path = folder / _file_name(number)
                aside.append(path.name if only_look else self._set_aside(path))
        if not aside:
            return prompt, ""
        where = folder.relative_to(self.path)
        return prompt, f"damaged versions of user {user_id!r} were set aside in {where}: {', '.join(aside)}"

    def _set_aside(self, path: Path) -> str:
        """Rename a damaged version, which may be a folder, to a name that is free; returns the name."""
        names = (path.with_name(f"{path.name}{DAMAGED}{number or ''}") for number in count())
        free = next(name for name in names if not name.exists())
        try:
            path.rename(free)
        except OSError as error:
            raise _store_error(self.path, "written", error) from None
        return free.name

    def versions(self, user_id: str) -> tuple[Version, ...]:
        """All versions of a user, oldest first.

        Raises:
            UnknownUser: If the home folder does not know the user.
        """
        numbers = self._numbers(self._folder(user_id))
        if not numbers:
            raise self._unknown(user_id)
        dates = self._dates(user_id)
        return tuple(Version(number, dates.get(number, "")) for number in numbers)

    def users(self) -> Iterator[str]:
        """The ids of all users, in the order of their hashes."""
        for folder in self._folders():
            yield self._read(folder / _file_name(self._numbers(folder)[-1])).user_id

    def export(self, user_id: str | None = None, *, report: Callable[[StoreError], None] = _refuse) -> Iterator[str]:
        """Everything stored about a user, or about everybody, one JSON document a version, no dates.

        Args:
            user_id: Whose versions; None means everybody's.
            report: Told of each version that is damaged or newer and left out; by default the first is raised.

        Raises:
            UnknownUser: If the home folder does not know the user.
        """
        folders = [self._folder(user_id)] if user_id is not None and self.versions(user_id) else self._folders()
        for folder in folders:
            for number in self._numbers(folder):
                path = folder / _file_name(number)
                try:
                    self._read(path)
                except (CorruptFile, NewerVersion) as error:
                    report(error)
                    continue
                yield json.dumps({"version": number, "prompt": json.loads(self._text(path))}, ensure_ascii=False)

    def count_erasable(self, user_id: str) -> int:
        """How many versions `delete` would erase; 0 where only leftovers of a killed run are there.

        Raises:
            UnknownUser: If nothing is there.
        """
        folder = self._folder(user_id)
        if folder.exists() or any(folder.name in line for line in self._index_lines()):
            return len(self._numbers(folder))
        raise self._unknown(user_id)

    def delete(self, user_id: str) -> int:
        """Erase everything about a user, index included; returns the number of versions erased.

        Raises:
            UnknownUser: If the home folder holds nothing of the user.
            StoreError: If the folder cannot be written.
        """
        n_versions = self.count_erasable(user_id)
        folder = self._folder(user_id)
        try:
            if folder.exists():
                shutil.rmtree(folder)
            kept = [line for line in self._index_lines() if folder.name not in line]  # damaged lines go too
            replace_file(self.path / "index.jsonl", (line + "\n" for line in kept))
        except OSError as error:
            raise _store_error(self.path, "written", error) from None
        return n_versions

    def _unknown(self, user_id: str) -> UnknownUser:
        return UnknownUser(f"user {user_id!r} is not in {str(self.path)!r}; fit them first or pass the right --home")

    def _folder(self, user_id: str) -> Path:
        return self.path / "users" / hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _folders(self) -> list[Path]:
        root = self.path / "users"
        try:
            return sorted(folder for folder in root.iterdir() if self._numbers(folder)) if root.is_dir() else []
        except OSError as error:
            raise _store_error(self.path, "read", error) from None

    def _numbers(self, folder: Path, *, with_damaged: bool = False) -> list[int]:
        """Version numbers on disk, those set aside only if wanted; temporary files of a killed run are not versions."""
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _store_error(self.path, "read", error) from None
        found = [VERSION_NAME.fullmatch(name) for name in names]
        return sorted(int(match[1]) for match in found if match and (with_damaged or not match[2]))

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except IsADirectoryError:
            raise CorruptFile(f"{str(path)!r} is a folder, not a file; move it away") from None
        except OSError as error:
            raise _store_error(self.path, "read", error) from None

    def _read(self, path: Path) -> PersonalPrompt:
        where = str(path.relative_to(self.path))
        prompt = prompt_from_json(self._text(path), where=where)
        if self._folder(prompt.user_id) != path.parent:
            raise CorruptFile(
                f"{where} is the prompt of user {prompt.user_id!r}, who belongs elsewhere; fit again or delete the user"
            )
        return prompt

    def _note(self, user_id: str, number: int) -> None:
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = json.dumps({"user": self._folder(user_id).name, "version": number, "date": date})
        with (self.path / "index.jsonl").open("ab+") as index:
            if index.tell():
                index.seek(-1, os.SEEK_END)  # a line that was cut short must not swallow this one
                entry = entry if index.read() == b"\n" else "\n" + entry
            index.write(entry.encode() + b"\n")

    def _index_lines(self) -> list[str]:
        path = self.path / "index.jsonl"
        return self._text(path).splitlines() if path.exists() else []

    def _dates(self, user_id: str) -> dict[int, str]:
        name = self._folder(user_id).name
        own = [entry for entry in map(_entry, self._index_lines()) if entry.get("user") == name]
        return {entry["version"]: str(entry.get("date", "")) for entry in own if isinstance(entry.get("version"), int)}


def _file_name(number: int) -> str:
    return f"v{number:04d}.json"


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _entry(line: str) -> dict[str, Any]:
    """A line of the index; one that was cut short says nothing."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _write_new(path: Path, text: str) -> bool:
    """Write a file that must not exist yet, whole or not at all; False when somebody else was first."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.link(file.name, path)  # unlike a rename this never replaces another process's version
        except FileExistsError:
            return False
        finally:
            os.unlink(file.name)
    sync_folder(path.parent)
    return True


def _store_error(path: Path, verb: str, error: OSError) -> StoreError:
    reason = error.strerror or type(error).__name__
    return StoreError(f"home folder {str(path)!r} cannot be {verb} ({reason}); check the path, the rights and the disk")
