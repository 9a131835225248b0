"""One user's choices in the order in which they were made, with where one conversation ends and the next begins.

Choices of one conversation share a topic and a mood, so a change of taste is only looked
for between conversations, and only whole conversations are ever put in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import in_time_order
from personalrm.stats.arrays import BoolArray, IntArray
from personalrm.stylometry.observations import Choices, observe


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
        seen, rows = self.choices, self.conversations[self.choices.groups] < first
        return _part(seen, rows), _part(seen, ~rows)

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


def _part(choices: Choices, rows: BoolArray) -> Choices:
    ids = tuple(pair_id for pair_id, keeps in zip(choices.pair_ids, rows, strict=True) if keeps)
    groups = choices.groups[rows]
    return Choices(choices.differences[rows], groups - groups[:1], ids)
