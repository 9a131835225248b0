"""What reading a file came to: every row that made no pair is counted, with its reason."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from personalrm.errors import BadRow

MOST_PROBLEMS = 1000
"""Bad rows kept with their message; all are counted."""
MOST_IDS = 100_000
"""Users among whom look-alike ids are searched, so that memory stays flat."""


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
