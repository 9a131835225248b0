"""Pairs as the engine learns from them: rows of feature differences, grouped by choice.

Pairs of one choice (same conversation, same chosen text) are one observation with
several rejected alternatives, not several independent ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.preferences.pairs import PreferencePair
from personalrm.stats.arrays import FloatArray, IntArray
from personalrm.stylometry.features import FEATURES, covered, difference, read


@dataclass(frozen=True, repr=False)
class Choices:
    """What one user chose, in numbers; rows of one choice stand together."""

    differences: FloatArray
    """Shape `(rows, features)`, x(chosen) - x(rejected), unscaled."""
    groups: IntArray
    """Shape `(rows,)`, which choice each row belongs to: 0, 0, 1, 2, 2, ..."""
    pair_ids: tuple[str, ...] = ()
    """Length rows, the pairs' ids in row order."""

    @property
    def n_choices(self) -> int:
        """Number of independent acts of choosing."""
        return int(self.groups[-1]) + 1 if len(self.groups) else 0


def observe(pairs: Sequence[PreferencePair]) -> Choices:
    """The pairs as choices; cost is one reading of each new text."""
    keyed = _keyed(pairs)
    rows = [difference(pair.conversation, pair.chosen, pair.rejected) for _, pair in keyed]
    return Choices(
        differences=np.array(rows).reshape(len(rows), len(FEATURES)),
        groups=np.array([number for number, _ in keyed], dtype=np.int64),
        pair_ids=tuple(pair.id for _, pair in keyed),
    )


def row_pairs(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The pair behind each row of `observe(pairs)`; ids would not do, since a caller's ids may repeat."""
    return [pair for _, pair in _keyed(pairs)]


def _keyed(pairs: Sequence[PreferencePair]) -> list[tuple[int, PreferencePair]]:
    """The pairs in row order, each with the number of its choice."""
    numbers: dict[str, int] = {}
    keyed = [(numbers.setdefault(pair.choice_key, len(numbers)), pair) for pair in pairs]
    return sorted(keyed, key=lambda item: item[0])


def share_uncovered(pairs: Sequence[PreferencePair]) -> float:
    """Share of the pairs for which only language-neutral features are used."""
    if not pairs:
        return 0.0
    return sum(not covered(read(pair.chosen), read(pair.rejected)).all() for pair in pairs) / len(pairs)
