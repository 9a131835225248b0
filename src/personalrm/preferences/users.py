"""A user: an id and their preference pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from personalrm.preferences.pairs import PreferencePair


@dataclass(frozen=True, repr=False)
class User:
    """One person and all their choices, in the order of the rows."""

    user_id: str
    pairs: tuple[PreferencePair, ...]
    n_duplicates: int = 0
    """Exact copies of a pair that were left out."""
    n_both_outcomes: int = 0
    """Pairs that stand in the input with either completion chosen; both are kept."""

    @property
    def context_pairs(self) -> tuple[PreferencePair, ...]:
        """Those a method may see: all but the rows that the input calls targets."""
        return tuple(pair for pair in self.pairs if pair.split != "target")

    def __iter__(self) -> Iterator[PreferencePair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"User(user_id={self.user_id!r}, pairs={len(self.pairs)})"
