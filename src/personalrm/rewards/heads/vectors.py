"""From pairs and questions to arrays of embeddings, scaled as a head was trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Pooling, Vectors
from personalrm.embedding.store import EmbeddingStore
from personalrm.rewards.heads.pair_table import ITEMS, PairTable, PairTexts
from personalrm.rewards.reward_model import ScoreItem
from personalrm.stats.arrays import FloatArray, IntArray


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
    known = [place for place, owner in enumerate(owners) if owner]
    store.rows([sequences[place] for place in known], owners=[owners[place] for place in known])
    counts = [len(item.completions) for item in items]
    return store.vectors(sequences, pooling), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
