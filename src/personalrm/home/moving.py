"""Export and import: everything about people as JSON lines, from one home into another.

A line is a choice (`pair`), a version of a prompt (`version`, `prompt`), a change by hand (`edit`), a hidden word
(`hidden_word`), a kept answer of a model (`answer`) or a row of a run (`run`, `row`); each names its `user_id`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from personalrm.errors import BadRow, CorruptFile, PersonalRMError
from personalrm.home.runs import rows_in_runs
from personalrm.induction.hidden import without_hidden, without_pair
from personalrm.lm.cache import CACHE_FILE, Cache
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import checked_pair, prompt_from_dict
from personalrm.store.people import Forgotten, PeopleStore
from personalrm.store.records import Hidden
from personalrm.typed_values import plain, saved_value

LEFT_BEHIND = ("answer", "row")
"""Kinds of lines that are for people to read: answers belong to requests, rows to their run."""
MOST_VERSIONS = 2**31 - 1
"""As far as an integer of PostgreSQL counts."""
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
KINDS = ("pair", "prompt", "edit", "hidden_word", *LEFT_BEHIND)
AGAIN = "pass what personalrm export printed"


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    n_lines: int
    n_people: int
    n_new: int
    """Lines that said something that was not there yet."""
    n_left_behind: int
    """Lines that cannot be imported: kept answers and rows of runs."""


def export_lines(
    store: PeopleStore,
    user_id: str | None = None,
    *,
    with_dates: bool = False,
    report: Callable[[CorruptFile], object] | None = None,
) -> Iterator[dict[str, Any]]:
    """Everything about a person, or about everybody, by id; arguments as of `PeopleStore.export`.

    Raises:
        UnknownUser: If nothing of the person is there.
    """
    ids = store.user_ids() if user_id is None else [user_id]
    cache = Cache(store.home / CACHE_FILE, read_only=True)
    with cache:
        keys = cache.keys_by_owner()
        n_lines = 0
        for person in ids:
            if user_id is None or store.knows(person):
                for line in store.export(person, with_dates=with_dates, report=report):
                    n_lines += 1
                    yield line
            for answer in cache.owned_by(person, keys):
                n_lines += 1
                yield {"user_id": person, "answer": answer}
            for run, row in rows_in_runs(store.home / "runs", person):
                n_lines += 1
                yield {"user_id": person, "run": run, "row": row}
    if user_id is not None and not n_lines:
        raise store.unknown(user_id)


def import_lines(store: PeopleStore, lines: Iterable[Mapping[str, Any]], *, where: str) -> Imported:
    """Take in what `export_lines` gave, in one transaction; what is there already stays as it is.

    A version whose number is taken by another prompt gets the next free number. Choices that were forgotten here do not
    come back, in no prompt, and what is hidden here is not quoted; a prompt that was learned from forgotten choices
    alone is left out.

    Args:
        store: Where they go.
        lines: As `export_lines` gave them, in that order.
        where: What messages call their origin.

    Raises:
        BadRow: Naming the first line that cannot be read; nothing is stored then.
    """
    forgotten, hidden = store.forgotten(), store.everybody_hidden()
    counts = {"lines": 0, "left behind": 0}
    people: set[str] = set()
    left_out: set[tuple[str, int]] = set()  # versions, whose edits follow them

    def checked() -> Iterator[dict[str, Any]]:
        known: list[PreferencePair] = []
        for number, line in enumerate(lines, start=1):
            counts["lines"] += 1
            place = f"{where} line {number}"
            try:
                user_id, kind, read = _read(line, place)
            except PersonalRMError as error:
                raise BadRow(f"{error}; nothing was imported", line=number) from None
            people.add(user_id)
            if known and known[0].user_id != user_id:
                known = []
            if kind in LEFT_BEHIND:
                counts["left behind"] += 1
                continue
            if kind == "pair":
                known.append(read["pair"])
                if read["pair"] in forgotten:
                    continue
            if kind == "prompt":
                prompt = _without_forgotten(read["prompt"], known, forgotten)
                if prompt is None:
                    left_out.add((user_id, read["version"]))
                    continue
                read["prompt"] = without_hidden(prompt, hidden.get(user_id, Hidden()), known)
            if kind != "edit" or (user_id, read["edit"]["number"]) not in left_out:
                yield read

    n_new = store.put(checked())
    return Imported(counts["lines"], len(people), n_new, counts["left behind"])


def _without_forgotten(
    prompt: PersonalPrompt, known: Iterable[PreferencePair], forgotten: Forgotten
) -> PersonalPrompt | None:
    """The prompt as far as it can be kept; None where it was learned from forgotten choices alone."""
    kept = prompt
    for pair in (*known, *(shown.shown.pair for shown in prompt.demonstrations)):
        if pair in forgotten:
            kept = without_pair(kept, pair)
    return None if prompt.roles and not kept.roles else kept


@dataclass(frozen=True)
class _Pair:
    """The line of a choice."""

    user_id: str
    pair: Mapping[str, Any]
    reason: str = ""
    hidden: bool = False
    date: str = ""


@dataclass(frozen=True)
class _Version:
    """The line of a version of the prompt."""

    user_id: str
    version: int
    prompt: Mapping[str, Any]
    date: str = ""


@dataclass(frozen=True)
class _Edit:
    """What a person changed by hand."""

    number: int
    kind: Literal["added", "removed"]
    sentence: str


@dataclass(frozen=True)
class _EditLine:
    """The line of such a change."""

    user_id: str
    edit: _Edit


@dataclass(frozen=True)
class _HiddenWord:
    """The line of a hidden word."""

    user_id: str
    hidden_word: str


LINES = {"pair": _Pair, "prompt": _Version, "edit": _EditLine, "hidden_word": _HiddenWord}


def _read(line: Any, where: str) -> tuple[str, str, dict[str, Any]]:
    """Whose line it is, of which kind, and its content checked.

    Raises:
        PersonalRMError: If it is not what an export holds.
    """
    kinds = [kind for kind in KINDS if isinstance(line, Mapping) and kind in line]
    if len(kinds) != 1:
        raise BadRow(f"{where} holds {' and '.join(kinds) or 'nothing'} that an export writes in a line; {AGAIN}")
    (kind,) = kinds
    if kind in LEFT_BEHIND:
        return str(line.get("user_id")), kind, {}
    read = plain(saved_value(LINES[kind], line, where, again=AGAIN))
    user_id, date, number = read["user_id"], read.get("date"), read.get("version", read.get("edit", {}).get("number"))
    if not user_id.strip():
        raise BadRow(f"user_id of {where} is blank; {AGAIN}")
    texts = (user_id, read.get("hidden_word", ""), read.get("edit", {}).get("sentence", ""))
    if any(unicodedata.category(character) in ("Cc", "Cs") for text in texts for character in text):
        raise BadRow(f"a text of {where} holds control characters or half a character; {AGAIN}")
    if date and not DATE.fullmatch(date):
        raise BadRow(f"date of {where} is {date!r}, not one such as 2026-01-31T12:00:00Z; {AGAIN}")
    if number is not None and not 1 <= number <= MOST_VERSIONS:
        raise BadRow(f"{where} is about version {number}, versions are numbered from 1; {AGAIN}")
    if kind == "pair":
        read["pair"] = checked_pair(line["pair"], f"the pair of {where}")
    elif kind == "prompt":
        read["prompt"] = prompt_from_dict(line["prompt"], f"the prompt of {where}")
    owner = getattr(read[kind], "user_id", user_id)
    if owner != user_id:
        raise BadRow(f"{where} holds a {kind} of user {owner!r} under user {user_id!r}; {AGAIN}")
    return user_id, kind, read
