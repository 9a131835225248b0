"""How GPO sees a pair: one prompt with both completions, or two embeddings, as their difference or side by side.

`pair` is the paper's way: the language model reads conversation and both completions in
one prompt, in either order, so a pair has two vectors of its own. `difference` (GPO-diff,
an extension) is e(first) - e(second) from the shared store: no second embedding job, one
vector a pair, and the other order is its negative. `concatenated` is [e(first), e(second)]
from the same store, twice as wide: nothing of either is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from personalrm.embedding.encoders import Pooling, TextSequence, Vectors
from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.messages import Conversation
from personalrm.prompts.rendering import pair_messages

TokenKind = Literal["pair", "difference", "concatenated"]
Shown = tuple[Conversation, str, str]
"""A conversation and two completions in the order they are shown."""


def pair_sequence(conversation: Conversation, first: str, second: str) -> TextSequence:
    """Conversation and both completions as one prompt without a question; no text can forge another's borders."""
    return TextSequence(pair_messages(conversation, first, second).messages)


def tokens_of(
    kind: TokenKind, store: EmbeddingStore, shown: Sequence[Shown], pooling: Pooling, owners: Sequence[str]
) -> Vectors:
    """The vectors of each couple of completions, shape `(couples, orders, dim)`.

    There are two orders, as shown and swapped, but of a `difference` one; `concatenated` ones are twice as wide.

    Args:
        kind: Which tokens.
        store: Where the vectors are; couples with an owner are kept in it.
        shown: The couples.
        pooling: Which vectors.
        owners: Whose each couple is; empty leaves nothing behind.
    """
    sequences = [sequence for couple in shown for sequence in _sequences(kind, couple)]
    kept = [place for place, owner in enumerate(owners) if owner]
    both = [2 * place + side for place in kept for side in (0, 1)]
    store.rows([sequences[one] for one in both], owners=[owners[place] for place in kept for _ in (0, 1)])
    vectors = store.vectors(sequences, pooling).reshape(len(shown), 2, store.encoder.dim)
    if kind == "difference":
        return vectors[:, :1] - vectors[:, 1:]
    return vectors if kind == "pair" else np.concatenate([vectors, vectors[:, ::-1]], axis=-1)


def token_width(kind: TokenKind, dim: int) -> int:
    """Width of a token made from vectors of width `dim`."""
    return 2 * dim if kind == "concatenated" else dim


def scale_and_shift(kind: TokenKind, tokens: Vectors) -> tuple[Vectors, Vectors]:
    """Deviation and mean over both orders, `(dim,)` each; 1 for a column that never changes."""
    rows = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    # Each difference also stands for its negative, so their mean is 0, and stays 0 so that they remain odd.
    shift = np.zeros(rows.shape[1]) if kind == "difference" else rows.mean(axis=0)
    scale = np.sqrt(((rows - shift) ** 2).mean(axis=0))
    return np.where(scale > 0, scale, 1.0).astype(np.float32), shift.astype(np.float32)


def _sequences(kind: TokenKind, couple: Shown) -> tuple[TextSequence, TextSequence]:
    conversation, first, second = couple
    if kind == "pair":
        return pair_sequence(conversation, first, second), pair_sequence(conversation, second, first)
    return TextSequence(conversation, first), TextSequence(conversation, second)
