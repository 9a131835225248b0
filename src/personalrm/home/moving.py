"""Export and import: everything about people as JSON lines, from one home into another.

A line is a choice (`pair`), a version of a prompt (`version`, `prompt`), a change by hand (`edit`), a hidden word
(`hidden_word`), a kept answer of a model (`answer`) or a row of a run (`run`, `row`); each names its `user_id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from personalrm.errors import BadRow, CorruptFile, PersonalRMError
from personalrm.home.runs import rows_in_runs
from personalrm.induction.hidden import without_hidden, without_pair
from personalrm.lm.cache import Cache
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prompt_json import checked_pair, prompt_from_dict
from personalrm.store.people import PeopleStore
from personalrm.store.records import Hidden

LEFT_BEHIND = ("answer", "row")
"""Kinds of lines that are for people to read: answers belong to requests, rows to their run."""
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
    cache = Cache(store.home / "cache.sqlite", read_only=True)
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
    come back, in no prompt, and what is hidden here is not quoted.

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
                prompt = read["prompt"]
                for pair in (*known, *(shown.shown.pair for shown in prompt.demonstrations)):
                    if pair in forgotten:
                        prompt = without_pair(prompt, pair)
                read["prompt"] = without_hidden(prompt, hidden.get(user_id, Hidden()), known)
            yield read

    n_new = store.put(checked())
    return Imported(counts["lines"], len(people), n_new, counts["left behind"])


def _read(line: Mapping[str, Any], where: str) -> tuple[str, str, dict[str, Any]]:
    """Whose line it is, of which kind, and its content checked.

    Raises:
        PersonalRMError: If it is not what an export holds.
    """
    if not isinstance(line, Mapping):
        raise BadRow(f"{where} is not an object; {AGAIN}")
    user_id, kinds = line.get("user_id"), [kind for kind in KINDS if kind in line]
    if not isinstance(user_id, str) or not user_id.strip():
        raise BadRow(f"{where} has no user_id; {AGAIN}")
    if len(kinds) != 1:
        raise BadRow(f"{where} holds {' and '.join(kinds) or 'nothing'} that an export writes in a line; {AGAIN}")
    (kind,) = kinds
    read = dict(line)
    date = read.get("date", "")
    if not isinstance(date, str) or (date and not DATE.fullmatch(date)):
        raise BadRow(f"{where} has the date {date!r}, not one such as 2026-01-31T12:00:00Z; {AGAIN}")
    if kind == "pair":
        read["pair"] = checked_pair(line["pair"], f"the pair of {where}")
        if read["pair"].user_id != user_id:
            raise BadRow(f"{where} holds a choice of user {read['pair'].user_id!r} under user {user_id!r}; {AGAIN}")
        if not isinstance(read.get("reason", ""), str) or not isinstance(read.get("hidden", False), bool):
            raise BadRow(f"reason or hidden of {where} is of another type than text and true or false; {AGAIN}")
    elif kind == "prompt":
        if not isinstance(line["prompt"], Mapping) or not _is_number(line.get("version")):
            raise BadRow(f"{where} has no prompt with the number of its version; {AGAIN}")
        read["prompt"] = prompt_from_dict(line["prompt"], f"the prompt of {where}")
        if read["prompt"].user_id != user_id:
            raise BadRow(f"{where} holds the prompt of user {read['prompt'].user_id!r} under user {user_id!r}; {AGAIN}")
    elif kind == "edit":
        edit = line["edit"]
        if not (
            isinstance(edit, Mapping)
            and set(edit) == {"number", "kind", "sentence"}
            and _is_number(edit["number"])
            and edit["kind"] in ("added", "removed")
            and isinstance(edit["sentence"], str)
        ):
            raise BadRow(f"the edit of {where} is not number, kind and sentence; {AGAIN}")
    elif kind == "hidden_word" and not (isinstance(line["hidden_word"], str) and line["hidden_word"].strip()):
        raise BadRow(f"hidden_word of {where} is blank or not a text; {AGAIN}")
    return user_id, kind, read


def _is_number(value: Any) -> bool:
    """Whether it numbers a version: from 1, as far as a database counts."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
