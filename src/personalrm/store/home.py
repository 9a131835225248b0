"""The home folder: every user's personal prompts, version by version.

    <home>/users/<hash of the id>/v0001.json           the truth; written once, never changed
    <home>/users/<hash of the id>/v0002.json.damaged   set aside by a fit that could not read it
    <home>/index.jsonl                                 dates of the versions, one line each

A version is written to a temporary file, flushed to disk and linked under the next free
number. A damaged one is renamed by a fit, never removed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from personalrm.errors import CorruptFile, NewerVersion, StoreError, UnknownUser
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.whole_files import replace_file, sync_folder

MOST_LISTED = 10
"""Versions named in a message."""
DAMAGED = ".damaged"
"""What is put behind the name of a version that was set aside."""
WITHOUT_LINKS = {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without hard links answer: exFAT, some network folders, FAT on Windows."""
VERSION_NAME = re.compile(rf"v([0-9]{{4,}})\.json({re.escape(DAMAGED)}[0-9]*)?")


@dataclass(frozen=True)
class Version:
    """One saved prompt of a user."""

    number: int
    """1 is the first."""
    date: str
    """When it was saved, ISO 8601 in UTC; empty when the index does not know."""


@dataclass(frozen=True)
class Saved:
    """One user of a home folder, as far as their newest version can be read."""

    user_id: str
    """Empty where no version says whose it is."""
    folder: str
    """Name of their folder, the hash of the id."""
    versions: tuple[Version, ...]
    """Oldest first."""
    newest: PersonalPrompt | None
    """None when the newest version cannot be read."""
    problem: str = ""
    """Why it cannot, in a sentence."""


def _refuse(error: StoreError) -> None:
    raise error


class Home:
    """A folder of personal prompts; the constructor touches nothing.

    Args:
        path: The folder; made at the first save.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._index = _Index(self.path)

    def save(self, prompt: PersonalPrompt) -> int:
        """Store the prompt as a new version, unless it equals the newest one; returns the version's number.

        Raises:
            StoreError: If the folder cannot be written.
        """
        text = prompt_to_json(prompt)
        folder = self._folder(prompt.user_id)
        number, is_new = folder.add(text)
        if is_new:
            self._index.note(folder.name, number)
        return number

    def load(self, user_id: str, version: int | None = None) -> PersonalPrompt:
        """A user's newest prompt, or the version asked for.

        Raises:
            UnknownUser: If there is no such user or version.
            CorruptFile: If the file is damaged; the message names the version to go back to.
        """
        folder, numbers = self._known(user_id)
        number = numbers[-1] if version is None else version
        if number not in numbers:
            there = ", ".join(map(str, numbers[-MOST_LISTED:]))
            raise UnknownUser(f"user {user_id!r} has no version {number}; saved are {there}")
        try:
            return folder.read(number)
        except CorruptFile as error:
            message = f"version {number} of user {user_id!r} is damaged: {error}"
            others = (other for other in reversed(numbers) if other != number and folder.attempt(other)[0] is not None)
            if (readable := next(others, None)) is not None:
                message += (
                    f", or look at version {readable} with show --version-number {readable} and go back to it "
                    "with restore"
                )
            raise CorruptFile(message) from None

    def restore(self, user_id: str, version: int) -> int:
        """Make an earlier version the newest again, as a version of its own; returns its number.

        Nothing is lost: what was the newest stays in the history. A version that is the newest already stays so.

        Raises:
            UnknownUser: If there is no such user or version.
            CorruptFile: If that version is damaged.
        """
        return self.save(self.load(user_id, version))

    def newest_or_set_aside(self, user_id: str, *, only_look: bool = False) -> tuple[PersonalPrompt | None, str]:
        """A user's newest prompt that can be read, or None; and a sentence on what was damaged, else empty.

        For a fit, which must go on: each damaged version on the way is renamed, `v0002.json` to
        `v0002.json.damaged`, so nothing is lost and its number is not given again. With `only_look` nothing is renamed.

        Raises:
            NewerVersion: If a later personalrm wrote the newest version, which is not damaged.
            StoreError: If the folder cannot be read or written.
        """
        folder = self._folder(user_id)
        aside: list[str] = []
        prompt = None
        for number in reversed(folder.numbers()):
            try:
                prompt = folder.read(number)
                break
            except CorruptFile:
                aside.append(folder.file(number).name if only_look else folder.set_aside(number))
        if not aside:
            return prompt, ""
        where = folder.path.relative_to(self.path)
        return prompt, f"damaged versions of user {user_id!r} were set aside in {where}: {', '.join(aside)}"

    def versions(self, user_id: str) -> tuple[Version, ...]:
        """All versions of a user, oldest first.

        Raises:
            UnknownUser: If the home folder does not know the user.
        """
        folder, numbers = self._known(user_id)
        return _dated(numbers, self._index.dates(folder.name).get(folder.name, {}))

    def saved(self) -> Iterator[Saved]:
        """Every user with their newest prompt, one after the other, in the order of their hashes.

        A damaged version stops nothing: `problem` says what is wrong, and an earlier version says whose it is.
        """
        dates = self._index.dates()
        for folder in self._folders():
            numbers = folder.numbers()
            newest, problem = folder.attempt(numbers[-1])
            prompts = (newest, *(folder.attempt(number)[0] for number in reversed(numbers[:-1]) if newest is None))
            user_id = next((prompt.user_id for prompt in prompts if prompt is not None), "")
            yield Saved(user_id, folder.name, _dated(numbers, dates.get(folder.name, {})), newest, problem)

    def users(self) -> Iterator[str]:
        """The ids of all users, in the order of their hashes."""
        for folder in self._folders():
            yield folder.read(folder.numbers()[-1]).user_id

    def export(self, user_id: str | None = None, *, report: Callable[[StoreError], None] = _refuse) -> Iterator[str]:
        """Everything stored about a user, or about everybody, one JSON document a version, no dates.

        Args:
            user_id: Whose versions; None means everybody's.
            report: Called with each version that is damaged or newer and left out; by default the first is raised.

        Raises:
            UnknownUser: If the home folder does not know the user.
        """
        for folder in [self._known(user_id)[0]] if user_id is not None else self._folders():
            for number in folder.numbers():
                try:
                    folder.read(number)
                except (CorruptFile, NewerVersion) as error:
                    report(error)
                    continue
                yield json.dumps({"version": number, "prompt": json.loads(folder.text(number))}, ensure_ascii=False)

    def count_erasable(self, user_id: str) -> int:
        """How many versions `delete` would erase; 0 where only leftovers of a killed run are there.

        Raises:
            UnknownUser: If nothing is there.
        """
        folder = self._folder(user_id)
        with _disk(self.path, "read"):
            if folder.path.exists() or self._index.mentions(folder.name):
                return len(folder.numbers())
        raise self._unknown(user_id)

    def delete(self, user_id: str) -> int:
        """Erase everything about a user, index included; returns the number of versions erased.

        Raises:
            UnknownUser: If the home folder holds nothing of the user.
            StoreError: If the folder cannot be written.
        """
        n_versions = self.count_erasable(user_id)
        folder = self._folder(user_id)
        with _disk(self.path, "written"):
            if folder.path.exists():
                shutil.rmtree(folder.path)
            self._index.forget(folder.name)
        return n_versions

    def _folder(self, user_id: str) -> _UserFolder:
        return _UserFolder(self.path, _hash_of(user_id))

    def _folders(self) -> list[_UserFolder]:
        root = self.path / "users"
        with _disk(self.path, "read"):
            names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        return [folder for folder in (_UserFolder(self.path, name) for name in names) if folder.numbers()]

    def _known(self, user_id: str) -> tuple[_UserFolder, list[int]]:
        """The user's folder and the numbers of their versions."""
        folder = self._folder(user_id)
        numbers = folder.numbers()
        if not numbers:
            raise self._unknown(user_id)
        return folder, numbers

    def _unknown(self, user_id: str) -> UnknownUser:
        return UnknownUser(
            f"user {user_id!r} is not in {str(self.path)!r}; fit them first or pass the right "
            "--home (personalrm users lists who is there)"
        )


def _dated(numbers: list[int], dates: Mapping[int, str]) -> tuple[Version, ...]:
    return tuple(Version(number, dates.get(number, "")) for number in numbers)


def _hash_of(user_id: str) -> str:
    """The name of a user's folder; ids themselves never reach the file system."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@contextmanager
def _disk(home: Path, verb: str) -> Iterator[None]:
    """What the disk refuses meanwhile, in a sentence."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(
            f"home folder {str(home)!r} cannot be {verb} ({reason}); check the path, the rights and the disk"
        ) from None


class _UserFolder:
    """The versions of one user; the constructor touches nothing.

    Args:
        home: The home folder.
        name: The user's hash.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.path = home / "users" / name

    def file(self, number: int) -> Path:
        """Where a version stands."""
        return self.path / f"v{number:04d}.json"

    def numbers(self, *, with_damaged: bool = False) -> list[int]:
        """Version numbers on disk, those set aside only if wanted; temporary files of a killed run are not versions."""
        with _disk(self.home, "read"):
            try:
                names = os.listdir(self.path)
            except (FileNotFoundError, NotADirectoryError):
                return []
        matches = [VERSION_NAME.fullmatch(name) for name in names]
        return sorted(int(match[1]) for match in matches if match and (with_damaged or not match[2]))

    def text(self, number: int) -> str:
        """The JSON of a version.

        Raises:
            CorruptFile: If a folder lies in its place.
            StoreError: If it cannot be read.
        """
        path = self.file(number)
        with _disk(self.home, "read"):
            try:
                return path.read_text(encoding="utf-8", errors="replace")
            except IsADirectoryError:
                raise CorruptFile(f"{str(path)!r} is a folder, not a file; move it away") from None

    def read(self, number: int) -> PersonalPrompt:
        """The prompt of a version.

        Raises:
            CorruptFile: If it is damaged or somebody else's.
            NewerVersion: If a later personalrm wrote it.
        """
        where = str(self.file(number).relative_to(self.home))
        prompt = prompt_from_json(self.text(number), where=where)
        if _hash_of(prompt.user_id) != self.name:
            raise CorruptFile(
                f"{where} is the prompt of user {prompt.user_id!r}, who belongs elsewhere; fit again or delete the user"
            )
        return prompt

    def attempt(self, number: int) -> tuple[PersonalPrompt | None, str]:
        """The prompt of a version, or None and why it cannot be read."""
        try:
            return self.read(number), ""
        except (CorruptFile, NewerVersion) as error:
            return None, str(error)

    def add(self, text: str) -> tuple[int, bool]:
        """Write the next version, unless the newest holds this very text; its number, and whether it is new."""
        with _disk(self.home, "written"):
            self.path.mkdir(parents=True, exist_ok=True)
            while True:
                newest = max(self.numbers(), default=0)
                if newest and self.file(newest).is_file() and self.file(newest).read_bytes() == text.encode():
                    return newest, False
                following = 1 + max(self.numbers(with_damaged=True), default=0)
                if _write_new(self.file(following), text):
                    return following, True

    def set_aside(self, number: int) -> str:
        """Rename a damaged version, which may be a folder, to a name that is free; returns the name."""
        path = self.file(number)
        names = (path.with_name(f"{path.name}{DAMAGED}{again or ''}") for again in count())
        free = next(name for name in names if not name.exists())
        with _disk(self.home, "written"):
            path.rename(free)
        return free.name


def _write_new(path: Path, text: str) -> bool:
    """Write a file that must not exist yet, whole or not at all; False when somebody else was first."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            try:
                os.link(file.name, path)  # unlike a rename this never replaces another process's version
            except OSError as error:
                if error.errno not in WITHOUT_LINKS:
                    raise
                # The name is claimed first. A kill between these lines leaves an empty version, which the next fit
                # sets aside.
                path.touch(exist_ok=False)
                os.replace(file.name, path)
        except FileExistsError:
            return False
        finally:
            Path(file.name).unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


class _Index:
    """When each version was saved: an append-only log beside the truth; the constructor touches nothing.

    It holds what must not be in the versions (dates), can be cut short or lost without losing
    a prompt, and two processes may append to it. Users stand in it by their hash.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.path = home, home / "index.jsonl"

    def note(self, user: str, number: int) -> None:
        """Append that this version of a user, named by their hash, was saved now."""
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = json.dumps({"user": user, "version": number, "date": date})
        with _disk(self.home, "written"), self.path.open("ab+") as index:
            if index.tell():
                index.seek(-1, os.SEEK_END)  # a line that was cut short must not swallow this one
                entry = entry if index.read() == b"\n" else "\n" + entry
            index.write(entry.encode() + b"\n")

    def dates(self, user: str | None = None) -> Mapping[str, Mapping[int, str]]:
        """ISO dates in UTC by version number, by the hash of the user; damaged lines say nothing.

        Args:
            user: Whose dates, by their hash; None means everybody's.
        """
        dates: dict[str, dict[int, str]] = {}
        for line in self._lines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(entry, dict):
                continue
            owner, number = entry.get("user"), entry.get("version")
            if isinstance(owner, str) and isinstance(number, int) and user in (None, owner):
                dates.setdefault(owner, {})[number] = str(entry.get("date", ""))
        return dates

    def mentions(self, user: str) -> bool:
        """Whether any line names the user, damaged ones too."""
        return any(user in line for line in self._lines())

    def forget(self, user: str) -> None:
        """Take out every line that names the user, damaged ones too."""
        kept = [line for line in self._lines() if user not in line]
        replace_file(self.path, (line + "\n" for line in kept))

    def _lines(self) -> list[str]:
        with _disk(self.home, "read"):
            return self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.exists() else []
