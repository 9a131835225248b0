"""A report on a file of preferences: what it holds and every row that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median_low

from personalrm.preferences.reading.files import iter_users
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.tally import Problem, Tally

ENOUGH_PAIRS = 5


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
