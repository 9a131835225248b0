"""What is known of people: their pairs, personal prompts version by version, edits, and who was erased.

Everything a command or the service knows of a person is read and written here, or shown by `reading.py`, in the
database that `database.py` opens. Each method is one transaction: what it returned is on disk.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, false, func, insert, select, update
from sqlalchemy.dialects import sqlite

from personalrm.errors import BadInput, CorruptFile, NewerVersion, UnknownName
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import pair_from_dict, pair_to_dict, prompt_to_json
from personalrm.preferences.users import User
from personalrm.store.database import today
from personalrm.store.reading import PeopleReader, read_prompt, storable
from personalrm.store.records import Forgot, Hidden, Learned, StoredPair
from personalrm.store.tables import (
    EDITS,
    FACTS,
    HIDDEN_WORDS,
    PAIRS,
    PEOPLE,
    PROMPTS,
    TOMBSTONE_KEY,
    TOMBSTONES,
)

AT_ONCE = 100
"""People read in one transaction when everybody is exported, so that memory does not grow with their number."""


class Forgotten:
    """Which pairs were forgotten for good; holds keyed hashes, no ids.

    Args:
        key: Of this database.
        hashes: Its tombstones.
    """

    def __init__(self, key: bytes, hashes: frozenset[str]) -> None:
        self._key, self._hashes = key, hashes

    def __contains__(self, pair: PreferencePair) -> bool:
        return bool(self._hashes) and not self._hashes.isdisjoint(_tombstones_of(self._key, pair))


class PeopleStore(PeopleReader):
    """The people of a home folder or of a PostgreSQL database; the constructor touches nothing.

    Args:
        home: The home folder; made at the first write.
        url: A PostgreSQL database that holds people in place of the folder's `people.db`.
    """

    def save(self, prompt: PersonalPrompt, *, pairs: Sequence[PreferencePair] = ()) -> int:
        """Store the prompt as a new version, unless it equals the newest one; returns the version's number.

        Args:
            prompt: What was learned.
            pairs: What it was learned from; those that are not there yet are stored too.

        Raises:
            StoreError: If the database cannot be written.
        """
        content = _prompt_content(prompt)
        with self._database.writing() as connection:
            person = _person(connection, prompt.user_id)
            _add_pairs(connection, person, [StoredPair(pair) for pair in pairs])
            return _add_prompt(connection, person, prompt, content)

    def save_fitted(self, learned: Sequence[Learned], *, since: int) -> list[str]:
        """Store what a fit learned, all in one transaction.

        Args:
            learned: The prompts and what they were learned from.
            since: What `last_erasure` said when the fit began: whoever was erased later is not stored again.

        Returns:
            For each an empty text, or the sentence why it was not stored.
        """
        contents = [_prompt_content(fitted.prompt) for fitted in learned]
        sentences = []
        with self._database.writing() as connection:
            key, erased = _tombstone_key(connection), _tombstones_since(connection, since)
            for fitted, content in zip(learned, contents, strict=True):
                sentence = _why_not_to_store(key, erased, fitted.prompt.user_id, fitted.pairs)
                if not sentence:
                    person = _person(connection, fitted.prompt.user_id)
                    _add_pairs(connection, person, [StoredPair(pair) for pair in fitted.pairs])
                    _add_prompt(connection, person, fitted.prompt, content)
                sentences.append(sentence)
        return sentences

    def save_edit(self, prompt: PersonalPrompt, *, added: Sequence[str], removed: Sequence[str]) -> int:
        """Store an edited prompt as a new version, with what the person changed; returns the version's number."""
        content = _prompt_content(prompt)
        with self._database.writing() as connection:
            person = _person(connection, prompt.user_id)
            number = _add_prompt(connection, person, prompt, content)
            rows = [("added", sentence) for sentence in added] + [("removed", sentence) for sentence in removed]
            if rows:
                values = [
                    {"person_id": person, "number": number, "kind": kind, "sentence": text} for kind, text in rows
                ]
                connection.execute(insert(EDITS), values)
        return number

    def add_pairs(self, user_id: str, pairs: Sequence[StoredPair]) -> int:
        """Store choices of a person; returns how many were not there yet. Forgotten ones are left out."""
        with self._database.writing() as connection:
            forgotten = Forgotten(_tombstone_key(connection), _all_tombstones(connection))
            known = [stored for stored in pairs if stored.pair not in forgotten]
            return _add_pairs(connection, _person(connection, user_id), known)

    def restore(self, user_id: str, version: int) -> int:
        """Make an earlier version the newest again, as a version of its own; returns its number.

        Nothing is lost: what was the newest stays in the history. A version that is the newest already stays so.

        Raises:
            UnknownUser: If there is no such person or version.
            CorruptFile: If that version is damaged.
        """
        return self.save(self.load(user_id, version))

    def newest_readable(self, user_id: str) -> tuple[PersonalPrompt | None, str]:
        """A person's newest prompt that can be read, or None; and a sentence on what was damaged, else empty.

        For a fit, which must go on. Damaged versions stay where they are, and their numbers are not given again.

        Raises:
            NewerVersion: If a later personalrm wrote the newest version, which is not damaged.
        """
        with self._database.reading() as connection:
            contents = {} if connection is None else _contents(connection, user_id)
        damaged = []
        prompt = None
        for number in sorted(contents, reverse=True):
            try:
                prompt = read_prompt(contents[number], user_id, number)
                break
            except CorruptFile:
                damaged.append(f"v{number}")
        if not damaged:
            return prompt, ""
        return prompt, f"damaged versions of user {user_id!r} were passed over: {', '.join(damaged)}"

    def knows(self, user_id: str) -> bool:
        """Whether anything of the person is stored."""
        with self._database.reading() as connection:
            return connection is not None and _find_person(connection, user_id) is not None

    def count(self, user_id: str) -> tuple[int, int]:
        """How many versions and how many pairs are stored of a person."""
        with self._database.reading() as connection:
            if connection is None:
                return 0, 0
            return tuple(  # type: ignore[return-value]
                connection.execute(
                    select(func.count()).select_from(table.join(PEOPLE)).where(_is_user(user_id))
                ).scalar_one()
                for table in (PROMPTS, PAIRS)
            )

    def user_ids(self) -> list[str]:
        """The ids of everybody, sorted."""
        with self._database.reading() as connection:
            if connection is None:
                return []
            return sorted(connection.execute(select(PEOPLE.c.user_id)).scalars())

    def pairs(self, user_id: str) -> tuple[StoredPair, ...]:
        """Every stored choice of a person, in the order they came; empty where there is none."""
        columns = (PAIRS.c.content, PAIRS.c.reason, PAIRS.c.is_hidden, PAIRS.c.date)
        query = select(*columns).join(PEOPLE).where(_is_user(user_id)).order_by(PAIRS.c.id)
        with self._database.reading() as connection:
            rows = [] if connection is None else connection.execute(query).all()
        return tuple(_stored_pair(row, user_id) for row in rows)

    def hidden(self, user_id: str) -> Hidden:
        """What is never quoted of a person."""
        with self._database.reading() as connection:
            return Hidden() if connection is None else _hidden(connection, user_id)

    def everybody_hidden(self) -> dict[str, Hidden]:
        """What is never quoted, of everybody who hides something."""
        with self._database.reading() as connection:
            if connection is None:
                return {}
            hashes = select(PEOPLE.c.user_id).join(PAIRS).where(PAIRS.c.is_hidden)
            words = select(PEOPLE.c.user_id).join(HIDDEN_WORDS)
            ids = sorted(set(connection.execute(hashes.union(words)).scalars()))
            return {user_id: _hidden(connection, user_id) for user_id in ids}

    def forgotten(self) -> Forgotten:
        """Which pairs were forgotten for good."""
        with self._database.reading() as connection:
            if connection is None:
                return Forgotten(b"", frozenset())
            return Forgotten(_tombstone_key(connection), _all_tombstones(connection))

    def last_erasure(self) -> int:
        """The number of the newest tombstone; 0 where there is none."""
        with self._database.reading() as connection:
            return 0 if connection is None else connection.execute(select(func.max(TOMBSTONES.c.id))).scalar() or 0

    def erased_since(self, since: int, users: Iterable[User]) -> list[str]:
        """Those of some people who were deleted, or forgot one of these choices of theirs, since `last_erasure`."""
        with self._database.reading() as connection:
            if connection is None or not (erased := _tombstones_since(connection, since)):
                return []
            key = _tombstone_key(connection)
            return [user.user_id for user in users if _why_not_to_store(key, erased, user.user_id, user.pairs)]

    def hide(
        self,
        user_id: str,
        *,
        pair: str = "",
        word: str = "",
        change: Callable[[PersonalPrompt, Hidden], PersonalPrompt],
    ) -> int:
        """Never quote a pair or a word of a person again, in no version; returns how many versions were rewritten.

        Args:
            user_id: Whose.
            pair: Name or hash of a pair.
            word: A word, or words in a row.
            change: What becomes of a prompt under all that is hidden then.

        Raises:
            UnknownUser: If nothing of the person is stored.
            UnknownName: If they have no such pair.
        """
        with self._database.erasing() as connection:
            person = self._known_person(connection, user_id)
            if pair:
                hashes = [row.hash for row in self._named_pairs(connection, person, user_id, pair)]
                connection.execute(
                    update(PAIRS).where(PAIRS.c.person_id == person, PAIRS.c.hash.in_(hashes)).values(is_hidden=True)
                )
            if word:
                _insert_new(connection, HIDDEN_WORDS, {"person_id": person, "word": word})
            hidden = _hidden(connection, user_id)
            return _rewrite_prompts(connection, person, user_id, lambda prompt: change(prompt, hidden))

    def check_pair(self, user_id: str, pair: str) -> None:
        """Make sure that a person has a pair of that name or hash.

        Raises:
            UnknownUser: If nothing of the person is stored.
            UnknownName: If they have no such pair.
        """
        with self._database.reading() as connection:
            if connection is None:
                raise self.unknown(user_id)
            self._named_pairs(connection, self._known_person(connection, user_id), user_id, pair)

    def forget(
        self, user_id: str, pair: str, change: Callable[[PersonalPrompt, Sequence[PreferencePair]], PersonalPrompt]
    ) -> Forgot:
        """Erase one choice for good, in every version.

        Where no choice is left, everything that was learned goes with the last one: all versions, and what the person
        changed in them. What they hide stays hidden.

        Args:
            user_id: Whose.
            pair: Name or hash of the pair; a name that several pairs bear means all of them.
            change: What becomes of a prompt without the pairs that bear that name.

        Raises:
            UnknownUser: If nothing of the person is stored.
            UnknownName: If they have no such pair.
        """
        with self._database.erasing() as connection:
            person = self._known_person(connection, user_id)
            rows = self._named_pairs(connection, person, user_id, pair)
            gone = [_read_pair(row.content, user_id) for row in rows]
            key = _tombstone_key(connection)
            _bury(connection, {tombstone for lost in gone for tombstone in _tombstones_of(key, lost)})
            _rewrite_prompts(connection, person, user_id, lambda prompt: change(prompt, gone))
            connection.execute(
                delete(PAIRS).where(PAIRS.c.person_id == person, PAIRS.c.hash.in_([row.hash for row in rows]))
            )
            n_versions = 0
            if connection.execute(select(PAIRS.c.id).where(PAIRS.c.person_id == person).limit(1)).first() is None:
                n_versions = connection.execute(delete(PROMPTS).where(PROMPTS.c.person_id == person)).rowcount
                connection.execute(delete(EDITS).where(EDITS.c.person_id == person))
        return Forgot(len(gone), n_versions)

    def delete(self, user_id: str) -> None:
        """Erase everything about a person, to the byte; a tombstone stays, which holds no id.

        Nobody of that id need be there: what a killed run left elsewhere may be all there is.
        """
        with self._database.erasing() as connection:
            _bury(connection, {_tombstone(_tombstone_key(connection), user_id)})
            connection.execute(delete(PEOPLE).where(_is_user(user_id)))

    def is_erasing_left(self) -> bool:
        """Whether a command that erased was killed before the last bytes were overwritten; the next write does that."""
        return self._database.is_overwriting_left()

    def export(
        self,
        user_id: str | None = None,
        *,
        with_dates: bool = False,
        report: Callable[[CorruptFile], object] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Everything stored about a person or about everybody, a JSON object a pair, version, edit or hidden word.

        Args:
            user_id: Whose; None means everybody's.
            with_dates: Without dates two homes that learned the same give the same lines.
            report: Called with each version that is damaged and left out; without it the first is raised.

        Raises:
            UnknownUser: If nothing of the person is stored.
        """
        ids = self.user_ids() if user_id is None else [user_id]
        for beginning in range(0, len(ids), AT_ONCE):
            lines: list[dict[str, Any]] = []
            with self._database.reading() as connection:
                for person_id in ids[beginning : beginning + AT_ONCE]:
                    person = None if connection is None else _find_person(connection, person_id)
                    if connection is not None and person is not None:
                        lines += _exported(connection, person, person_id, with_dates, report)
                    elif user_id is not None:  # of everybody, some may be erased since their ids were read
                        raise self.unknown(person_id)
            yield from lines  # outside of the transaction, since a slow reader of a pipe would keep writers waiting

    def put(self, lines: Iterable[Mapping[str, Any]]) -> int:
        """Store lines as `export` gives them, read and checked, all of them or nothing; returns how many were new.

        Args:
            lines: Each with `user_id`, `date` where it is known, and what it says; pairs and prompts as such.
        """
        n_new = 0
        with self._database.writing() as connection:
            for line in lines:
                person = _person(connection, line["user_id"])
                date = line.get("date") or today()
                if "pair" in line:
                    stored = StoredPair(line["pair"], line.get("reason", ""), line.get("hidden", False), date)
                    n_new += _add_pairs(connection, person, [stored])
                elif "hidden_word" in line:
                    n_new += _insert_new(connection, HIDDEN_WORDS, {"person_id": person, "word": line["hidden_word"]})
                elif "edit" in line:
                    row = {"person_id": person, **line["edit"]}
                    if connection.execute(select(EDITS.c.id).filter_by(**row)).first() is None:
                        connection.execute(insert(EDITS).values(**row))
                        n_new += 1
                else:
                    n_new += _put_version(connection, person, line["version"], line["prompt"], date)
        return n_new

    def state(self) -> tuple[int, int]:
        """A pair of numbers that changes whenever a choice comes or goes."""
        with self._database.reading() as connection:
            if connection is None:
                return 0, 0
            newest_pair, erasure = select(func.max(PAIRS.c.id)), select(func.max(TOMBSTONES.c.id))
            return connection.execute(newest_pair).scalar() or 0, connection.execute(erasure).scalar() or 0

    def _known_person(self, connection: Connection, user_id: str) -> int:
        person = _find_person(connection, user_id)
        if person is None:
            raise self.unknown(user_id)
        return person

    def _named_pairs(self, connection: Connection, person: int, user_id: str, name: str) -> Sequence[Any]:
        """The pairs that bear a name or a hash."""
        query = select(PAIRS.c.hash, PAIRS.c.content).where(PAIRS.c.person_id == person)
        rows = connection.execute(query.where((PAIRS.c.pair_id == name) | (PAIRS.c.hash == name))).all()
        if not rows:
            raise UnknownName(
                f"user {user_id!r} has no choice {name!r}; personalrm show {user_id} --evidence and personalrm export "
                f"{user_id} name them"
            )
        return rows


def _is_user(user_id: str) -> ColumnElement[bool]:
    """That a row of people is this person; an id that no database takes is nobody's, not that of a similar one."""
    return PEOPLE.c.user_id == user_id if storable(user_id) == user_id else false()


def _find_person(connection: Connection, user_id: str) -> int | None:
    return connection.execute(select(PEOPLE.c.id).where(_is_user(user_id))).scalar()


def _person(connection: Connection, user_id: str) -> int:
    """The number of a person, who is made where they are not there, and locked where the database has row locks."""
    if storable(user_id) != user_id:
        raise BadInput(f"user id {user_id!r} holds half a character or NUL, which no database takes; rename the user")
    query = select(PEOPLE.c.id).where(PEOPLE.c.user_id == user_id).with_for_update()
    person = connection.execute(query).scalar()
    if person is None:
        _insert_new(connection, PEOPLE, {"user_id": user_id})
        person = connection.execute(query).scalar_one()
    return int(person)


def _insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless it is there already; whether it was new."""
    dialect: Any = sqlite
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql as dialect  # an eighth of a second that SQLite does not need
    return connection.execute(dialect.insert(table).values(**row).on_conflict_do_nothing()).rowcount > 0


def _add_pairs(connection: Connection, person: int, pairs: Sequence[StoredPair]) -> int:
    if not pairs:
        return 0
    there = set(connection.execute(select(PAIRS.c.hash).where(PAIRS.c.person_id == person)).scalars())
    new: dict[str, StoredPair] = {}
    for stored in pairs:
        if stored.pair.hash not in there:
            new.setdefault(stored.pair.hash, stored)
    date = today()
    rows = [
        {
            "person_id": person,
            "hash": stored.pair.hash,
            "pair_id": storable(stored.pair.pair_id),
            "is_hidden": stored.is_hidden,
            "date": stored.date or date,
            "reason": storable(stored.reason or _reason_in(stored.pair)) or None,
            "content": _json(pair_to_dict(stored.pair)),
        }
        for stored in new.values()
    ]
    if rows:
        connection.execute(insert(PAIRS), rows)
    return len(rows)


def _reason_in(pair: PreferencePair) -> str:
    """Why the person chose so, where the row of the file said it."""
    reason = pair.meta.get("reason")
    return reason if isinstance(reason, str) else ""


def _contents(connection: Connection, user_id: str) -> dict[int, str]:
    query = select(PROMPTS.c.number, PROMPTS.c.content).join(PEOPLE).where(_is_user(user_id))
    return {row.number: row.content for row in connection.execute(query)}


def _add_prompt(connection: Connection, person: int, prompt: PersonalPrompt, content: str) -> int:
    """Insert the next version, unless the newest says this very thing; its number."""
    query = select(PROMPTS.c.number, PROMPTS.c.content).where(PROMPTS.c.person_id == person)
    newest = connection.execute(query.order_by(PROMPTS.c.number.desc()).limit(1)).first()
    if newest is not None and newest.content == content:
        return int(newest.number)
    number = 1 if newest is None else int(newest.number) + 1
    _insert_version(connection, person, number, prompt, content, today())
    return number


def _put_version(connection: Connection, person: int, number: int, prompt: PersonalPrompt, date: str) -> bool:
    """Insert an imported version under its number, or the next free one where another version has that."""
    content = _prompt_content(prompt)
    rows = connection.execute(select(PROMPTS.c.number, PROMPTS.c.content).where(PROMPTS.c.person_id == person)).all()
    there = {row.number: row.content for row in rows}
    if content in there.values() and there.get(number) in (None, content):
        return False
    _insert_version(connection, person, number if number not in there else max(there) + 1, prompt, content, date)
    return True


def _insert_version(
    connection: Connection, person: int, number: int, prompt: PersonalPrompt, content: str, date: str
) -> None:
    connection.execute(
        insert(PROMPTS).values(person_id=person, number=number, date=date, content=content, **_listed_columns(prompt))
    )


def _listed_columns(prompt: PersonalPrompt) -> dict[str, Any]:
    """What a list of people says about a prompt."""
    return {"n_pairs": len(prompt.roles), "n_sentences": len(prompt.persona.claims), "engine": prompt.judge}


def _rewrite_prompts(
    connection: Connection, person: int, user_id: str, change: Callable[[PersonalPrompt], PersonalPrompt]
) -> int:
    """Change every version where it stands; one that cannot be read may hold anything and goes. How many changed."""
    n_changed = 0
    for number, content in _contents(connection, user_id).items():
        place = (PROMPTS.c.person_id == person) & (PROMPTS.c.number == number)
        try:
            prompt = change(read_prompt(content, user_id, number))
        except (CorruptFile, NewerVersion):
            connection.execute(delete(PROMPTS).where(place))
            n_changed += 1
            continue
        changed = _prompt_content(prompt)
        if changed != content:
            connection.execute(update(PROMPTS).where(place).values(content=changed, **_listed_columns(prompt)))
            n_changed += 1
    return n_changed


def _hidden(connection: Connection, user_id: str) -> Hidden:
    hashes = select(PAIRS.c.hash).join(PEOPLE).where(_is_user(user_id), PAIRS.c.is_hidden)
    words = select(HIDDEN_WORDS.c.word).join(PEOPLE).where(_is_user(user_id))
    return Hidden(frozenset(connection.execute(hashes).scalars()), frozenset(connection.execute(words).scalars()))


def _exported(
    connection: Connection,
    person: int,
    user_id: str,
    with_dates: bool,
    report: Callable[[CorruptFile], object] | None,
) -> Iterator[dict[str, Any]]:
    def dated(line: dict[str, Any], date: str) -> dict[str, Any]:
        return {**line, "date": date} if with_dates else line

    for row in connection.execute(select(PAIRS).where(PAIRS.c.person_id == person).order_by(PAIRS.c.id)):
        line: dict[str, Any] = {"user_id": user_id, "pair": json.loads(row.content)}
        line |= ({"reason": row.reason} if row.reason else {}) | ({"hidden": True} if row.is_hidden else {})
        yield dated(line, row.date)
    words = select(HIDDEN_WORDS.c.word).where(HIDDEN_WORDS.c.person_id == person)
    for word in sorted(connection.execute(words).scalars()):
        yield {"user_id": user_id, "hidden_word": word}
    for row in connection.execute(select(PROMPTS).where(PROMPTS.c.person_id == person).order_by(PROMPTS.c.number)):
        try:
            prompt = json.loads(row.content)
        except (ValueError, RecursionError):
            prompt = None
        if not isinstance(prompt, dict):
            error = CorruptFile(f"version {row.number} of user {user_id!r} is not JSON; restore an earlier one")
            if report is None:
                raise error
            report(error)
            continue
        yield dated({"user_id": user_id, "version": row.number, "prompt": prompt}, row.date)
    for row in connection.execute(select(EDITS).where(EDITS.c.person_id == person).order_by(EDITS.c.id)):
        yield {"user_id": user_id, "edit": {"number": row.number, "kind": row.kind, "sentence": row.sentence}}


def _json(content: Any) -> str:
    """As compact as JSON gets; a lone surrogate, which no database takes, stays an escape."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":"))
    return text.replace("\x00", "\\u0000")


def _prompt_content(prompt: PersonalPrompt) -> str:
    return _json(json.loads(prompt_to_json(prompt)))


def _stored_pair(row: Any, user_id: str) -> StoredPair:
    return StoredPair(_read_pair(row.content, user_id), row.reason or "", bool(row.is_hidden), row.date)


def _read_pair(content: str, user_id: str) -> PreferencePair:
    try:
        return pair_from_dict(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CorruptFile(
            f"a stored choice of user {user_id!r} is damaged; restore the database from an export, or delete the user "
            "and fit again"
        ) from None


def _tombstone_key(connection: Connection) -> bytes:
    query = select(FACTS.c.value).where(FACTS.c.name == TOMBSTONE_KEY)
    return bytes.fromhex(connection.execute(query).scalar_one())


def _all_tombstones(connection: Connection) -> frozenset[str]:
    return _tombstones_since(connection, 0)


def _tombstones_since(connection: Connection, since: int) -> frozenset[str]:
    return frozenset(connection.execute(select(TOMBSTONES.c.hash).where(TOMBSTONES.c.id > since)).scalars())


def _why_not_to_store(key: bytes, erased: frozenset[str], user_id: str, pairs: Iterable[PreferencePair]) -> str:
    """Why nothing that a fit learned of a person may be stored, in a sentence; empty where it may."""
    if erased and _tombstone(key, user_id) in erased:
        return "deleted while this fit ran; nothing of them was saved"
    if erased and any(not erased.isdisjoint(_tombstones_of(key, pair)) for pair in pairs):
        return "a choice of theirs was forgotten while this fit ran; fit them again"
    return ""


def _tombstone(key: bytes, *parts: str) -> str:
    """Keyed hash of a person, or of a person and one of their pairs."""
    text = json.dumps(parts).encode()  # with brackets and quotes, so that no two lists of parts are one text
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _tombstones_of(key: bytes, pair: PreferencePair) -> set[str]:
    """Those of a pair: by content, and by the caller's name where it has one."""
    names = [("hash", pair.hash)] + ([("id", pair.pair_id)] if pair.pair_id else [])
    return {_tombstone(key, pair.user_id, kind, name) for kind, name in names}


def _bury(connection: Connection, hashes: set[str]) -> None:
    """Add tombstones anew, even where there are some already: a running fit asks for those since it began."""
    date = today()
    connection.execute(insert(TOMBSTONES), [{"hash": tombstone, "date": date} for tombstone in sorted(hashes)])
