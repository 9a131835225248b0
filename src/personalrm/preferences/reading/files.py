"""Files of preferences into pairs and users, streaming.

`iter_pairs` yields pairs in the order of the rows; `iter_users` groups them by user,
on disk when there are many, so that memory does not grow with the file; `read_pairs`
holds everything, for data that fits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from personalrm.errors import BadInput, BadRow, UnknownName, UnknownUser
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.columns import list_columns
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.preferences.reading.layouts import LAYOUTS, detect_layout, find_layout
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rated import Dropped
from personalrm.preferences.reading.rows import Numbered, Row, iter_rows
from personalrm.preferences.reading.tally import Problem, Tally
from personalrm.preferences.users import User
from personalrm.wording import count

__all__ = ["PairsByUser", "Problem", "ReadOptions", "Tally", "iter_pairs", "iter_users", "pairs_of_rows", "read_pairs"]
LISTED = 20
"""Bad rows listed in the error that stops a reading."""
LOOKED_AT = 1000
"""Rows among which the first one of a known layout is looked for."""


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

    Example:
        >>> from personalrm.preferences.people import example_path
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
    it as they stop `iter_pairs`, before the first user; only a pair that is declared both
    context and target is found later when the file is partitioned.

    Args:
        path: As for `read_pairs`.
        options: As for `read_pairs`.
        tally: Counts what was read, if given.
    """
    chosen = options or ReadOptions()
    counted = tally if tally is not None else Tally()
    for user in group_by_user(_numbered_pairs(path, chosen, counted), report=counted.add_bad):
        counted.n_duplicates += user.n_duplicates
        counted.n_both_outcomes += user.n_both_outcomes
        counted.see_user(user.user_id)
        if chosen.skip_bad or not counted.n_bad_rows:
            yield user
    if counted.n_bad_rows and not chosen.skip_bad:
        raise _refusal(path, counted)


def iter_pairs(
    path: str | Path, options: ReadOptions | None = None, *, tally: Tally | None = None
) -> Iterator[PreferencePair]:
    """Pairs in the order of the rows.

    Bad rows are counted; unless `skip_bad` is set, reading goes on to the end of the file
    to find them all, and then stops with an error that lists them.
    """
    counted = tally if tally is not None else Tally()
    for _, pair in _numbered_pairs(path, options or ReadOptions(), counted):
        yield pair


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


def _numbered_pairs(path: str | Path, options: ReadOptions, tally: Tally) -> Iterator[tuple[int, PreferencePair]]:
    """Pairs of a file with their lines, the rest counted."""
    return pairs_of_rows(iter_rows(path), options, tally, where=str(path))


def _outcomes(
    numbered_rows: Iterator[Numbered], options: ReadOptions, tally: Tally, where: str
) -> Iterator[tuple[int, PreferencePair | BadRow | Dropped]]:
    if options.layout is not None and options.layout not in LAYOUTS:
        raise UnknownName(f"unknown layout {options.layout!r}; use one of {', '.join(LAYOUTS)}")
    rows = _counted(numbered_rows, tally)
    head: list[tuple[int, Row | BadRow]] = []
    for numbered in rows:  # bad rows may come before the first that shows the layout
        head.append(numbered)
        if _shows_layout(numbered[1], options) or len(head) == LOOKED_AT:
            break
    readable = [row for _, row in head if not isinstance(row, BadRow)]
    if not readable:
        yield from ((line, row) for line, row in chain(head, rows) if isinstance(row, BadRow))
        return
    if options.user_column is not None and not any(options.user_column in row for row in readable):
        columns = list_columns(readable[0])
        raise UnknownName(f"{where!r} has no column {options.user_column!r}; it has {columns}")
    shown = next((row for row in readable if _shows_layout(row, options)), readable[0])
    tally.layout = options.layout or detect_layout(shown)
    yield from LAYOUTS[tally.layout].read(chain(head, rows), options)


def _shows_layout(row: Row | BadRow, options: ReadOptions) -> bool:
    """Whether the row has every column that is needed to know how to read the file."""
    if isinstance(row, BadRow) or (options.user_column is not None and options.user_column not in row):
        return False
    return options.layout is not None or find_layout(row) is not None


def _counted(rows: Iterator[tuple[int, Row | BadRow]], tally: Tally) -> Iterator[tuple[int, Row | BadRow]]:
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
