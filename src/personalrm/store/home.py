"""The home folder: every user's personal prompts, version by version.

    <home>/users/<hash of the id>/v0001.json           the truth; written once, never changed
    <home>/users/<hash of the id>/v0002.json.damaged   set aside by a fit that could not read it
    <home>/index.jsonl                                 dates of the versions, one line each

`user_folder.py` holds one user's files, `index.py` the dates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from personalrm.errors import CorruptFile, NewerVersion, StoreError, UnknownUser
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_to_json
from personalrm.store.index import Index
from personalrm.store.user_folder import UserFolder, hash_of, store_error

MOST_LISTED = 10
"""Versions named in a message."""


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
        self._index = Index(self.path / "index.jsonl")

    def save(self, prompt: PersonalPrompt) -> int:
        """Store the prompt as a new version, unless it equals the newest one; returns the version's number.

        Raises:
            StoreError: If the folder cannot be written.
        """
        text = prompt_to_json(prompt)
        folder = self._folder(prompt.user_id)
        number, is_new = folder.add(text)
        if is_new:
            try:
                self._index.note(folder.name, number)
            except OSError as error:
                raise store_error(self.path, "written", error) from None
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
            others = (one for one in reversed(numbers) if one != number and folder.attempt(one)[0] is not None)
            raise CorruptFile(_way_back(user_id, number, next(others, None), str(error))) from None

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
        folder = self._folder(user_id)
        numbers = folder.numbers()
        return folder.read(numbers[-1]) if numbers else None

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
        for number in reversed(folder.numbers()):
            try:
                prompt = folder.read(number)
                break
            except CorruptFile:
                aside.append(folder.file_name(number) if only_look else folder.set_aside(number))
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
        return _dated(numbers, self._dates(folder.name).get(folder.name, {}))

    def saved(self) -> Iterator[Saved]:
        """Every user with their newest prompt, one after the other, in the order of their hashes.

        A damaged version stops nothing: it is told in `problem`, and an earlier one says whose it is.
        """
        dates = self._dates()
        for folder in self._folders():
            numbers = folder.numbers()
            newest, problem = folder.attempt(numbers[-1])
            found = (newest, *(folder.attempt(number)[0] for number in reversed(numbers[:-1]) if newest is None))
            user_id = next((prompt.user_id for prompt in found if prompt is not None), "")
            yield Saved(user_id, folder.name, _dated(numbers, dates.get(folder.name, {})), newest, problem)

    def users(self) -> Iterator[str]:
        """The ids of all users, in the order of their hashes."""
        for folder in self._folders():
            yield folder.read(folder.numbers()[-1]).user_id

    def export(self, user_id: str | None = None, *, report: Callable[[StoreError], None] = _refuse) -> Iterator[str]:
        """Everything stored about a user, or about everybody, one JSON document a version, no dates.

        Args:
            user_id: Whose versions; None means everybody's.
            report: Told of each version that is damaged or newer and left out; by default the first is raised.

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
        try:
            if folder.path.exists() or self._index.mentions(folder.name):
                return len(folder.numbers())
        except OSError as error:
            raise error if isinstance(error, StoreError) else store_error(self.path, "read", error) from None
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
            folder.remove()
            self._index.forget(folder.name)
        except OSError as error:
            raise store_error(self.path, "written", error) from None
        return n_versions

    def _folder(self, user_id: str) -> UserFolder:
        return UserFolder(self.path, hash_of(user_id))

    def _folders(self) -> list[UserFolder]:
        root = self.path / "users"
        try:
            names = sorted(one.name for one in root.iterdir()) if root.is_dir() else []
        except OSError as error:
            raise store_error(self.path, "read", error) from None
        return [folder for folder in (UserFolder(self.path, name) for name in names) if folder.numbers()]

    def _known(self, user_id: str) -> tuple[UserFolder, list[int]]:
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

    def _dates(self, user: str | None = None) -> Mapping[str, Mapping[int, str]]:
        try:
            return self._index.dates(user)
        except OSError as error:
            raise store_error(self.path, "read", error) from None


def _dated(numbers: list[int], dates: Mapping[int, str]) -> tuple[Version, ...]:
    return tuple(Version(number, dates.get(number, "")) for number in numbers)


def _way_back(user_id: str, damaged: int, readable: int | None, problem: str) -> str:
    """What is wrong with a version, and the latest other one that can be read."""
    told = f"version {damaged} of user {user_id!r} is damaged: {problem}"
    if readable is None:
        return told
    return f"{told}, or look at version {readable} with show --version-number {readable} and go back to it with restore"
