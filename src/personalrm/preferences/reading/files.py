"""Files of preferences into pairs and users, streaming.

`pairs_of_rows` yields pairs in the order of the rows; `iter_users` groups them by user,
on disk when there are many, so that memory does not grow with the file; `read_pairs`
holds everything, for data that fits. Every row that makes no pair is counted in the
`Tally`, with its reason; `validate` reports it.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import median_low
from typing import Any

from personalrm.errors import BadInput, BadRow, UnknownName, UnknownUser
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.columns import list_columns
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.preferences.reading.layouts import Dropped, Outcome, detect_layout, find_layout, layout_named
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rows import Numbered, Row, iter_rows
from personalrm.preferences.users import User
from personalrm.wording import count

__all__ = ["PairsByUser", "Problem", "ReadOptions", "Tally", "iter_users", "pairs_of_rows", "read_pairs", "validate"]
LISTED = 20
"""Bad rows listed in the error that stops a reading."""
LOOKED_AT = 1000
"""Rows among which the first one of a known layout is looked for."""
MOST_PROBLEMS = 1000
"""Bad rows kept with their message; all are counted."""
MOST_IDS = 100_000
"""Users among whom look-alike ids are searched, so that memory stays flat."""
ENOUGH_PAIRS = 5
"""Pairs of a user that `validate` counts as enough; `min_pairs` of a run file is the same by default."""


@dataclass(frozen=True)
class Problem:
    """One bad row."""

    line: int
    field: str
    rule: str
    message: str


@dataclass
class Tally:
    """Counts that grow while a file is read."""

    n_rows: int = 0
    n_pairs: int = 0
    n_bad_rows: int = 0
    n_duplicates: int = 0
    """Exact copies of a pair of the same user, counted once."""
    n_both_outcomes: int = 0
    """Pairs that stand in the file with either completion chosen; both are kept."""
    bad_by_rule: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows or rated couples that make no pair, such as ties, by reason."""
    problems: list[Problem] = field(default_factory=list)
    layout: str = ""
    _look_alikes: dict[str, str] = field(default_factory=dict, repr=False)
    _id_warnings: list[str] = field(default_factory=list, repr=False)

    def add_bad(self, line: int, error: BadRow) -> None:
        """Count a bad row."""
        self.n_bad_rows += 1
        self.bad_by_rule[error.rule] += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(line, error.field, error.rule, str(error)))

    def see_user(self, user_id: str) -> None:
        """Notice ids that differ only in case or Unicode form; they are different users."""
        folded = unicodedata.normalize("NFKC", user_id).casefold()
        other = self._look_alikes.get(folded)
        if other is None:
            if len(self._look_alikes) < MOST_IDS:
                self._look_alikes[folded] = user_id
        elif other != user_id and len(self._id_warnings) < MOST_PROBLEMS:
            line = f"users {other!r} and {user_id!r} differ only in case or Unicode form and are kept apart"
            if line not in self._id_warnings:
                self._id_warnings.append(line)

    @property
    def warnings(self) -> list[str]:
        """What a person should know about rows that were not refused."""
        lines = [f"{count} dropped: {reason}" for reason, count in sorted(self.dropped.items())]
        if self.n_duplicates:
            lines.append(f"exact duplicates of a pair, counted once: {self.n_duplicates}")
        if self.n_both_outcomes:
            lines.append(f"pairs that stand in the file with both outcomes, both kept: {self.n_both_outcomes}")
        return lines + self._id_warnings

    def as_json(self) -> dict[str, Any]:
        """The counts for machines."""
        names = ("n_rows", "n_pairs", "n_bad_rows", "n_duplicates", "n_both_outcomes", "layout")
        counted = {name: getattr(self, name) for name in names}
        return counted | {
            "bad_by_rule": dict(self.bad_by_rule),
            "dropped": dict(self.dropped),
            "warnings": self.warnings,
        }


class PairsByUser(Mapping[str, User]):
    """Users by id, in order of first appearance, and the tally of their file."""

    def __init__(self, users: Mapping[str, User], tally: Tally, where: str) -> None:
        self._users, self.tally, self._where = dict(users), tally, where

    def __getitem__(self, user_id: str) -> User:
        if user_id not in self._users:
            near = difflib.get_close_matches(str(user_id), self._users, 3)
            advice = f"did you mean {', '.join(map(repr, near))}?" if near else f"it has {count(len(self), 'user')}"
            raise UnknownUser(f"user {user_id!r} is not in {self._where!r}; {advice}")
        return self._users[user_id]

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._users

    def __iter__(self) -> Iterator[str]:
        return iter(self._users)

    def __len__(self) -> int:
        return len(self._users)

    def __repr__(self) -> str:
        return f"PairsByUser(users={len(self)}, pairs={sum(map(len, self._users.values()))})"


def read_pairs(path: str | Path, options: ReadOptions | None = None) -> PairsByUser:
    """All users of a file.

    Args:
        path: .jsonl, .json, .csv, .tsv or .parquet, also with .gz.
        options: Layout, user column, what to do about bad rows.

    Raises:
        BadFile: If the file cannot be read.
        BadInput: If rows are bad and `skip_bad` is off; the message lists them.

    Examples:
        >>> from personalrm import example_path
        >>> pairs = read_pairs(example_path())
        >>> len(pairs["henrik"])
        13
    """
    tally = Tally()
    users = {user.user_id: user for user in iter_users(path, options, tally=tally)}
    return PairsByUser(users, tally, str(path))


def iter_users(path: str | Path, options: ReadOptions | None = None, *, tally: Tally | None = None) -> Iterator[User]:
    """Users one by one, in order of first appearance while the file is small.

    A file of more than `grouping.IN_MEMORY` pairs is partitioned on disk by a hash of the
    user id; users then come partition by partition, the same way every time. Bad rows stop
    it before the first user, once all are found; only a pair that is declared both context
    and target is found later when the file is partitioned.

    Args:
        path: As for `read_pairs`.
        options: As for `read_pairs`.
        tally: Counts what was read, if given.
    """
    chosen = options or ReadOptions()
    counted = tally if tally is not None else Tally()
    for user in group_by_user(pairs_of_rows(iter_rows(path), chosen, counted, where=str(path)), report=counted.add_bad):
        counted.n_duplicates += user.n_duplicates
        counted.n_both_outcomes += user.n_both_outcomes
        counted.see_user(user.user_id)
        if chosen.skip_bad or not counted.n_bad_rows:
            yield user
    if counted.n_bad_rows and not chosen.skip_bad:
        raise _refusal(path, counted)


def pairs_of_rows(
    rows: Iterator[Numbered], options: ReadOptions, tally: Tally, *, where: str
) -> Iterator[tuple[int, PreferencePair]]:
    """Pairs with their lines, from rows that come from anywhere; the rest is counted.

    Args:
        rows: Rows with their numbers.
        options: As for `read_pairs`.
        tally: Counts what was read.
        where: What messages call the rows' origin.

    Raises:
        UnknownName: If the layout or the user column is unknown.
        BadInput: At the end, if rows are bad and `skip_bad` is off; the message lists them.
    """
    for line, outcome in _outcomes(rows, options, tally, where):
        if isinstance(outcome, BadRow):
            tally.add_bad(line, outcome)
        elif isinstance(outcome, Dropped):
            tally.dropped[outcome.reason] += 1
        else:
            tally.n_pairs += 1
            if options.skip_bad or not tally.n_bad_rows:
                yield line, outcome
    if tally.n_bad_rows and not options.skip_bad:
        raise _refusal(where, tally)


def _outcomes(
    rows: Iterator[Numbered], options: ReadOptions, tally: Tally, where: str
) -> Iterator[tuple[int, Outcome]]:
    """What becomes of the rows, read by the layout that is named, or that the first row shows which shows one."""
    layout = None if options.layout is None else layout_named(options.layout)

    def shows_layout(row: Row | BadRow) -> bool:
        if isinstance(row, BadRow) or (options.user_column is not None and options.user_column not in row):
            return False
        return layout is not None or find_layout(row) is not None

    head: list[Numbered] = []
    rows = _counted(rows, tally)
    for numbered in rows:  # bad rows may come before the first that shows the layout
        head.append(numbered)
        if shows_layout(numbered[1]) or len(head) == LOOKED_AT:
            break
    readable = [row for _, row in head if not isinstance(row, BadRow)]
    if not readable:
        yield from ((line, row) for line, row in chain(head, rows) if isinstance(row, BadRow))
        return
    if options.user_column is not None and not any(options.user_column in row for row in readable):
        columns = list_columns(readable[0])
        raise UnknownName(f"{where!r} has no column {options.user_column!r}; it has {columns}")
    tally.layout = options.layout or detect_layout(next(filter(shows_layout, readable), readable[0]))
    yield from layout_named(tally.layout).outcomes(chain(head, rows), options)


def _counted(rows: Iterator[Numbered], tally: Tally) -> Iterator[Numbered]:
    for numbered in rows:
        tally.n_rows += 1
        yield numbered


def _refusal(path: str | Path, tally: Tally) -> BadInput:
    problems = sorted(tally.problems, key=lambda problem: problem.line)[:LISTED]
    listed = "".join(f"\n  {path} line {problem.line}: {problem.message}" for problem in problems)
    more = f"\n  ... and {tally.n_bad_rows - LISTED} more" if tally.n_bad_rows > LISTED else ""
    return BadInput(
        f"{str(path)!r} has {count(tally.n_bad_rows, 'bad row')} of {tally.n_rows:,}; fix them, or leave them out with "
        f"--skip-bad (skip_bad=True):{listed}{more}"
    )


@dataclass(frozen=True)
class ValidationReport:
    """What a file holds."""

    layout: str
    n_rows: int
    n_pairs: int
    """Pairs that can be used, duplicates counted once."""
    n_users: int
    n_users_with_enough: int
    """Users with at least `ENOUGH_PAIRS` pairs."""
    pairs_per_user: tuple[int, int, int]
    """Least, median, most."""
    n_duplicates: int
    """Exact copies, left out."""
    n_both_outcomes: int
    """Pairs that stand in the file with either completion chosen; both are kept."""
    n_bad_rows: int
    bad_by_rule: Mapping[str, int]
    problems: tuple[Problem, ...]
    """The first bad rows, with line, field and rule."""
    warnings: tuple[str, ...]
    """Degradations that refuse nothing: ties, duplicates, look-alike ids."""


def validate(path: str | Path, options: ReadOptions | None = None) -> ValidationReport:
    """The report; bad rows are listed, never raised.

    Raises:
        BadFile: If the file cannot be read at all.
        UnknownName: If its layout is not known.
    """
    tally = Tally()
    sizes = [len(user) for user in iter_users(path, replace(options or ReadOptions(), skip_bad=True), tally=tally)]
    return ValidationReport(
        layout=tally.layout,
        n_rows=tally.n_rows,
        n_pairs=sum(sizes),
        n_users=len(sizes),
        n_users_with_enough=sum(size >= ENOUGH_PAIRS for size in sizes),
        pairs_per_user=(min(sizes), median_low(sizes), max(sizes)) if sizes else (0, 0, 0),
        n_duplicates=tally.n_duplicates,
        n_both_outcomes=tally.n_both_outcomes,
        n_bad_rows=tally.n_bad_rows,
        bad_by_rule=dict(tally.bad_by_rule),
        problems=tuple(sorted(tally.problems, key=lambda problem: problem.line)),
        warnings=tuple(tally.warnings),
    )
