"""What shows people: their prompts, versions and a list of them.

Read without SQLAlchemy where SQLite will do, since to import it takes longer than all of this; everything else that is
known of people is read and written in `people.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from personalrm.errors import CorruptFile, StoreError, UnknownUser
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_from_json
from personalrm.store.database import Database
from personalrm.store.records import Listed, Version

MOST_LISTED = 10
"""Versions named in a message."""
LISTED_AT_ONCE = 20_000
"""People read in one query when everybody is listed."""


class PeopleReader:
    """The people of a home folder or of a PostgreSQL database, to be shown; the constructor touches nothing.

    Args:
        home: The home folder; made at the first write.
        url: A PostgreSQL database that holds people in place of the folder's `people.db`.
    """

    def __init__(self, home: str | Path, url: str | None = None) -> None:
        self.home = Path(home)
        self._database = Database(self.home, url)

    def close(self) -> None:
        """Let go of the database; the next use opens it again."""
        self._database.close()

    def load(self, user_id: str, version: int | None = None) -> PersonalPrompt:
        """A person's newest prompt, or the version asked for.

        Raises:
            UnknownUser: If there is no such person or version.
            CorruptFile: If it is damaged; the message names the version to go back to.
        """
        rows = self._contents(user_id, version)
        if not rows:
            there = ", ".join(str(saved.number) for saved in self.versions(user_id)[-MOST_LISTED:])
            raise UnknownUser(f"user {user_id!r} has no version {version}; saved are {there}")
        number, content = rows[0]
        try:
            return read_prompt(content, user_id, number)
        except CorruptFile as error:
            message = f"version {number} of user {user_id!r} is damaged: {error}"
            others = (saved.number for saved in reversed(self.versions(user_id)) if saved.number != number)
            readable = next((other for other in others if self._is_readable(user_id, other)), None)
            if readable is not None:
                message += (
                    f", or look at version {readable} with show --version-number {readable} and go back to it "
                    "with restore"
                )
            raise CorruptFile(message) from None

    def versions(self, user_id: str) -> tuple[Version, ...]:
        """All versions of a person, oldest first.

        Raises:
            UnknownUser: If nothing was fitted for the person.
        """
        rows = self._of_a_person("prompts.number, prompts.date", "ORDER BY prompts.number", user_id)
        if not rows:
            raise self.unknown(user_id)
        return tuple(Version(number, date) for number, date in rows)

    def listed(self, most: int | None = None) -> Iterator[Listed]:
        """Everybody, by id, without reading a prompt; or the first `most`."""
        after: str | None = None
        n_left = most
        while n_left is None or n_left > 0:
            n_some = LISTED_AT_ONCE if n_left is None else min(n_left, LISTED_AT_ONCE)
            n_left = None if n_left is None else n_left - n_some
            rows = self._database.rows(
                "SELECT page.user_id, prompts.date, prompts.n_pairs, prompts.n_sentences, prompts.engine FROM ("
                f"SELECT id, user_id FROM people {'WHERE user_id > :after' if after is not None else ''} "
                "ORDER BY user_id LIMIT :n_some) AS page LEFT JOIN prompts ON prompts.person_id = page.id "
                "ORDER BY page.user_id, prompts.number",
                n_some=n_some,
                **({} if after is None else {"after": after}),
            )
            for user_id, group in groupby(rows, key=itemgetter(0)):
                versions = list(group)
                _, date, n_pairs, n_sentences, engine = versions[-1]
                if date is None:
                    yield Listed(user_id, 0, 0, 0, "", "", "")
                else:
                    yield Listed(user_id, len(versions), n_pairs, n_sentences, engine, versions[0][1], date)
            if not rows:
                return
            after = rows[-1][0]

    def n_people(self) -> int:
        """How many people there are."""
        return sum(count for (count,) in self._database.rows("SELECT count(*) FROM people"))

    def unknown(self, user_id: str) -> UnknownUser:
        """The error that names who is not there."""
        return UnknownUser(
            f"user {user_id!r} is not in {str(self.home)!r}; fit them first or pass the right "
            "--home (personalrm users lists who is there)"
        )

    def _contents(self, user_id: str, version: int | None) -> Sequence[Sequence[Any]]:
        """Number and content of the newest version, or of that one; no row where it is not there."""
        if version is None:
            return self._of_a_person("prompts.number, prompts.content", "ORDER BY prompts.number DESC LIMIT 1", user_id)
        return self._of_a_person(
            "prompts.number, prompts.content", "AND prompts.number = :number", user_id, number=version
        )

    def _of_a_person(self, columns: str, rest: str, user_id: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        if storable(user_id) != user_id:
            return []  # no database takes such an id, and none may be taken for a similar one
        tables = "prompts JOIN people ON people.id = prompts.person_id"
        query = f"SELECT {columns} FROM {tables} WHERE people.user_id = :user_id {rest}"
        return self._database.rows(query, user_id=user_id, **parameters)

    def _is_readable(self, user_id: str, number: int) -> bool:
        rows = self._contents(user_id, number)
        try:
            return bool(rows) and bool(read_prompt(rows[0][1], user_id, number))
        except StoreError:
            return False


def storable(text: str) -> str:
    """A text without what a column of a database does not take: lone surrogates, and NUL (PostgreSQL)."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def read_prompt(content: str, user_id: str, number: int) -> PersonalPrompt:
    """The prompt that a version holds.

    Raises:
        CorruptFile: If it cannot be read, or is another person's.
    """
    prompt = prompt_from_json(content, where=f"version {number} of user {user_id!r}")
    if prompt.user_id != user_id:
        raise CorruptFile(
            f"version {number} of user {user_id!r} is the prompt of user {prompt.user_id!r}; fit again or delete the "
            "user"
        )
    return prompt
