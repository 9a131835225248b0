"""Preference pairs as integers: rows of an embedding store, users as offsets.

Every method that trains on embeddings reads its pairs from here. Pairs are sorted by
user (users in order of first appearance), within a user in time order, so a user is a
slice and ragged users need no padding until a batch is made.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Pooling, TextSequence, Vectors
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import in_time_order
from personalrm.rewards.reward_model import ScoreItem
from personalrm.stats.arrays import FloatArray, IntArray
from personalrm.wording import count


@dataclass(frozen=True)
class PairTexts:
    """Which texts of a pair or a question a method reads."""

    with_prompts: bool = False
    """Also the conversation alone."""
    item_has_prompt: bool = True
    """Whether a completion is read behind its conversation, or alone."""

    def item(self, conversation: Conversation, completion: str) -> TextSequence:
        """What is embedded for a completion."""
        return TextSequence(conversation if self.item_has_prompt else (), completion)

    def of(self, pair: PreferencePair) -> list[TextSequence]:
        """What is embedded of a pair: chosen, rejected, and its conversation where that is read."""
        items = [self.item(pair.conversation, text) for text in (pair.chosen, pair.rejected)]
        return [*items, TextSequence(pair.conversation)] if self.with_prompts else items


ITEMS = PairTexts()
"""Completions behind their conversations, as most methods read them."""


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
    """Shape `(pairs,)`, row of conversation + chosen in the store, or of chosen alone."""
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
    def hashes(self) -> list[str]:
        """Hash of each pair: what a training saw."""
        return [pair.hash for pair in self.pairs]

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


def make_pair_table(pairs: Sequence[PreferencePair], store: EmbeddingStore, *, reading: PairTexts = ITEMS) -> PairTable:
    """The table of the pairs; sequences the store lacks are embedded, owned by the pair's user.

    Args:
        pairs: Of any number of users, in any order.
        store: Where the vectors are.
        reading: Which texts are embedded.

    Pairs with a text of which the encoder can make no vector are left out, with a warning.

    Raises:
        BadInput: If there are no pairs, or none with vectors.
    """
    if not pairs:
        raise BadInput("there are no pairs to make a table of; pass at least one")
    table = _table_of_users(pairs, store, reading)
    if n_lost := len(pairs) - len(table):
        n_of = f"{n_lost:,} of {count(len(pairs), 'pair')}"
        if not len(table):
            raise BadInput(f"the encoder makes no vector of a text in {n_of}; take another encoder")
        warnings.warn(
            f"{n_of} left out: the encoder makes no vector of one of their texts", RuntimeWarning, stacklevel=2
        )
        if not table.counts.all():  # some users are gone as a whole
            table = _table_of_users(table.pairs, store, reading)
    return table


def _table_of_users(pairs: Sequence[PreferencePair], store: EmbeddingStore, reading: PairTexts) -> PairTable:
    by_user: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        by_user.setdefault(pair.user_id, []).append(pair)
    return _table(list(by_user.values()), tuple(by_user), store, reading)


def make_context_table(
    contexts: Sequence[Sequence[PreferencePair]], store: EmbeddingStore, *, reading: PairTexts = ITEMS
) -> PairTable:
    """The table of some contexts, in which context k is user k, whoever its pairs are of; contexts may be empty.

    Pairs without vectors are left out of their context.
    """
    return _table(contexts, tuple(str(place) for place in range(len(contexts))), store, reading)


def _table(
    groups: Sequence[Sequence[PreferencePair]], names: tuple[str, ...], store: EmbeddingStore, reading: PairTexts
) -> PairTable:
    ordered = [[pair for part in in_time_order(group) for pair in part] for group in groups]
    flat = [pair for group in ordered for pair in group]
    # One conversation's sequences side by side: an encoder that shares prefixes finds them in one chunk.
    sequences = [sequence for pair in flat for sequence in reading.of(pair)]
    width = 3 if reading.with_prompts else 2
    owners = [pair.user_id for pair in flat for _ in range(width)]
    rows = store.rows(sequences, owners=owners).reshape(len(flat), width).T
    if (rows < 0).any():
        has_vectors = iter([bool(found.all()) for found in (rows >= 0).T])
        return _table([[pair for pair in group if next(has_vectors)] for group in ordered], names, store, reading)
    counts = np.array([len(group) for group in ordered], dtype=np.int64)
    user = np.repeat(np.arange(len(groups)), counts)
    conversations: dict[tuple[int, str], int] = {}
    for owner, pair in zip(user.tolist(), flat, strict=True):
        conversations.setdefault((owner, pair.conversation_key), len(conversations))
    keys = zip(user.tolist(), (pair.conversation_key for pair in flat), strict=True)
    return PairTable(
        pairs=tuple(flat),
        user_ids=names,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        user=user,
        chosen_row=rows[0],
        rejected_row=rows[1],
        prompt_row=rows[2] if reading.with_prompts else np.full(len(flat), -1, dtype=np.int64),
        conversation=np.array([conversations[key] for key in keys], dtype=np.int64),
        time=np.array([place for group in ordered for place in range(len(group))], dtype=np.int64),
        weight=choice_weights(user.tolist(), flat),
    )


def choice_weights(owners: Sequence[int], pairs: Sequence[PreferencePair]) -> FloatArray:
    """1 / n for each of the n pairs of one owner's choice, shape `(pairs,)`."""
    choices = list(zip(owners, (pair.choice_key for pair in pairs), strict=True))
    times = Counter(choices)
    return np.array([1.0 / times[choice] for choice in choices])


def differences(table: PairTable, store: EmbeddingStore, pooling: Pooling) -> Vectors:
    """e(chosen) - e(rejected) of each pair, shape `(pairs, dim)`, unscaled."""
    matrix = store.matrix(pooling)
    return np.asarray(matrix[table.chosen_row].astype(np.float32) - matrix[table.rejected_row])


def scale_of(rows: npt.NDArray[np.floating]) -> FloatArray:
    """Root mean square of each column, shape `(dim,)`; 1 for a column that is always 0.

    Without it the few channels with which language models carry their massive activations
    decide everything.
    """
    scale = np.sqrt((rows.astype(np.float64) ** 2).mean(axis=0))
    return np.where(scale > 0, scale, 1.0)


def item_vectors(
    items: Sequence[ScoreItem], store: EmbeddingStore, pooling: Pooling, *, reading: PairTexts = ITEMS
) -> tuple[Vectors, IntArray]:
    """Vectors of all completions, `(completions, dim)`, and where each item's begin, `(items + 1,)`.

    Items that name their user are kept in the store; the others leave nothing behind.
    """
    sequences, owners = [], []
    for item in items:
        sequences += [reading.item(item.conversation, completion) for completion in item.completions]
        owners += [item.user_id] * len(item.completions)
    counts = [len(item.completions) for item in items]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return vectors_of_owners(store, sequences, owners, pooling), starts


def vectors_of_owners(
    store: EmbeddingStore, sequences: Sequence[TextSequence], owners: Sequence[str], pooling: Pooling
) -> Vectors:
    """The vector of each sequence, `(sequences, dim)`; those of an owner are kept, the others leave nothing behind.

    Args:
        store: Where the vectors are.
        sequences: What to find.
        owners: Whose each is, "" for nobody's; without any nothing is kept.
        pooling: Which vectors.
    """
    known = [place for place, owner in enumerate(owners) if owner]
    store.rows([sequences[place] for place in known], owners=[owners[place] for place in known])
    return store.vectors(sequences, pooling)
