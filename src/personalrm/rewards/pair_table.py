"""Preference pairs as integers: rows of an embedding store, users as offsets.

Every method that trains on embeddings reads its pairs from here. Pairs are sorted by
user (users in order of first appearance), within a user in time order, so a user is a
slice and ragged users need no padding until a batch is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import in_time_order

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class PairTable:
    """n pairs of U users as arrays; pairs of user u are `offsets[u]:offsets[u + 1]`."""

    pairs: tuple[PreferencePair, ...]
    """The pairs in the order of the rows below."""
    user_ids: tuple[str, ...]
    offsets: IntArray
    """Shape `(users + 1,)`."""
    user: IntArray
    """Shape `(pairs,)`, place in `user_ids`."""
    chosen_row: IntArray
    """Shape `(pairs,)`, row of conversation + chosen in the store."""
    rejected_row: IntArray
    """Shape `(pairs,)`."""
    prompt_row: IntArray
    """Shape `(pairs,)`, row of the conversation alone; -1 where it was not asked for."""
    conversation: IntArray
    """Shape `(pairs,)`, number of the conversation; equal within a conversation of one user."""
    time: IntArray
    """Shape `(pairs,)`, place within the user's history."""
    weight: FloatArray
    """Shape `(pairs,)`, 1 / n for each of the n pairs of one choice."""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def n_users(self) -> int:
        """How many users."""
        return len(self.user_ids)

    @property
    def counts(self) -> IntArray:
        """Pairs of each user, shape `(users,)`."""
        return np.diff(self.offsets)

    def padded(self) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Places of the pairs by user, `(users, most pairs)`, 0 where padded, and which are real."""
        most = int(self.counts.max(initial=0))
        real = np.arange(most)[None, :] < self.counts[:, None]
        return np.where(real, self.offsets[:-1, None] + np.arange(most)[None, :], 0), real


def make_pair_table(pairs: Sequence[PreferencePair], store: EmbeddingStore, *, with_prompts: bool = False) -> PairTable:
    """The table of the pairs; sequences the store lacks are embedded, owned by the pair's user.

    Args:
        pairs: Of any number of users, in any order.
        store: Where the vectors are.
        with_prompts: Also embed each conversation alone.

    Raises:
        BadInput: If there are no pairs.
    """
    if not pairs:
        raise BadInput("there are no pairs to make a table of; pass at least one")
    by_user: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        by_user.setdefault(pair.user_id, []).append(pair)
    ordered = [pair for own in by_user.values() for group in in_time_order(own) for pair in group]
    counts = [len(own) for own in by_user.values()]
    rows = _rows(ordered, store, with_prompts)
    choices = Counter((pair.user_id, pair.choice_key) for pair in ordered)
    conversations: dict[tuple[str, str], int] = {}
    for pair in ordered:
        conversations.setdefault((pair.user_id, pair.conversation_key), len(conversations))
    return PairTable(
        pairs=tuple(ordered),
        user_ids=tuple(by_user),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        user=np.repeat(np.arange(len(by_user)), counts),
        chosen_row=rows[0],
        rejected_row=rows[1],
        prompt_row=rows[2] if with_prompts else np.full(len(ordered), -1, dtype=np.int64),
        conversation=np.array([conversations[pair.user_id, pair.conversation_key] for pair in ordered]),
        time=np.concatenate([np.arange(count) for count in counts]),
        weight=np.array([1.0 / choices[pair.user_id, pair.choice_key] for pair in ordered]),
    )


def _rows(pairs: Sequence[PreferencePair], store: EmbeddingStore, with_prompts: bool) -> IntArray:
    """Rows of chosen, rejected and, where wanted, prompt; shape `(2 or 3, pairs)`."""
    width = 3 if with_prompts else 2
    # One conversation's sequences side by side: an encoder that shares prefixes finds them in one chunk.
    sequences = [
        TextSequence(pair.conversation, text) for pair in pairs for text in (pair.chosen, pair.rejected, None)[:width]
    ]
    owners = [pair.user_id for pair in pairs for _ in range(width)]
    return store.rows(sequences, owners=owners).reshape(len(pairs), width).T
