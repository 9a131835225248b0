"""Ratings into pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Dropped:
    """A row, or two ratings of it, that make no pair; not an error, but counted."""

    reason: str


def pairs_from_ratings(rated: Sequence[tuple[str, float]], gap: float) -> Iterator[tuple[str, str] | Dropped]:
    """(chosen, rejected) of every two rated texts, higher rating first.

    Args:
        rated: Texts with their ratings.
        gap: Smallest difference of ratings that counts as a preference.
    """
    for (text, rating), (other, other_rating) in combinations(rated, 2):
        if text == other:
            yield Dropped("identical completions")
        elif abs(rating - other_rating) < gap:
            yield Dropped("gap of ratings too small")
        else:
            yield (text, other) if rating > other_rating else (other, text)
