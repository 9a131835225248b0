"""Pairs as the engine learns from them: rows of feature differences, grouped by choice.

Pairs of one choice (same conversation, same chosen text) are one observation with
several rejected alternatives, not several independent ones.

A timeline has the choices in the order in which they were made. Choices of one conversation
share a topic and a mood, so a change of taste is only looked for between conversations, and
only whole conversations are ever put in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import in_time_order
from personalrm.stats.arrays import BoolArray, FloatArray, IntArray
from personalrm.stylometry.feature_words import FEATURES
from personalrm.stylometry.features import covered, difference, read


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


@dataclass(frozen=True, repr=False)
class Timeline:
    """What one user chose, oldest first."""

    choices: Choices
    conversations: IntArray
    """Shape `(choices,)`, the conversation of each choice: 0, 0, 1, 2, ..."""

    @property
    def n_conversations(self) -> int:
        """Number of conversations with a choice."""
        return int(self.conversations[-1]) + 1 if len(self.conversations) else 0

    def halves(self, first: int) -> tuple[Choices, Choices]:
        """The choices before conversation `first`, and those from it on, each numbered from 0."""
        seen, early = self.choices, self.conversations[self.choices.groups] < first

        def part(rows: BoolArray) -> Choices:
            ids = tuple(pair_id for pair_id, keeps in zip(seen.pair_ids, rows, strict=True) if keeps)
            groups = seen.groups[rows]
            return Choices(seen.differences[rows], groups - groups[:1], ids)

        return part(early), part(~early)

    def first_pair(self, first: int) -> tuple[int, str]:
        """Number (from 1, oldest first) and id of the first pair of conversation `first`."""
        row = int(np.flatnonzero(self.conversations[self.choices.groups] >= first)[0])
        return row + 1, self.choices.pair_ids[row]


def observe_in_time(pairs: Sequence[PreferencePair]) -> Timeline:
    """The pairs as a timeline; conversations stand in the order of the split rule (timestamp, index, row)."""
    conversations = in_time_order(pairs)
    ordered = [pair for conversation in conversations for pair in conversation]
    made = {pair.choice_key: number for number, conversation in enumerate(conversations) for pair in conversation}
    return Timeline(observe(ordered), np.array(list(made.values()), dtype=np.int64))
