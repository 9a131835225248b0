"""What two completions of one question differ in: style, embedding, and how they fit the question.

Everything here is odd: exchanging the completions changes every sign. How much each block
counts is the model's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from personalrm.embedding.encoders import Pooling, TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.messages import Conversation
from personalrm.rewards.heads.pair_table import scale_of, vectors_of_owners
from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.feature_words import FEATURES
from personalrm.stylometry.features import difference

N_STYLE = len(FEATURES)
Shown = tuple[Conversation, str, str]
"""A conversation, a first and a second completion."""


@dataclass(frozen=True, repr=False)
class Couples:
    """n couples of completions, first minus second."""

    style: FloatArray
    """The embedded engine's features, unscaled, shape `(n, features)`."""
    embedding: FloatArray
    """e(first) - e(second), shape `(n, dim)`."""
    product: FloatArray
    """The same at unit length, times the question's embedding at unit length, shape `(n, dim)`.

    Its sum over `dim` says which completion lies nearer to the question.
    """


@dataclass(frozen=True, repr=False)
class Scales:
    """Divisors, so that variances mean the same for every encoder."""

    style: FloatArray
    """Shape `(features,)`."""
    roots: FloatArray
    """Of the signed roots of scaled style, shape `(features,)`."""
    lengths: FloatArray
    """Root mean square length of embedding, of nearness and of product, shape `(3,)`."""


def couples_of(store: EmbeddingStore, shown: Sequence[Shown], pooling: Pooling, owners: Sequence[str]) -> Couples:
    """The differences of some couples.

    Args:
        store: Where the vectors are; couples with an owner are kept in it.
        shown: The couples.
        pooling: Which vectors.
        owners: Whose each couple is; empty leaves nothing behind.

    Raises:
        BadInput: If a conversation has no user turn.
    """
    for conversation, _, _ in shown:
        if not any(turn.role == "user" for turn in conversation):
            raise BadInput(
                f"a conversation of {len(conversation)} turns has no user turn; pass one that asks something"
            )
    sequences = [TextSequence(couple[0], text) for couple in shown for text in (couple[1], couple[2], None)]
    found = vectors_of_owners(store, sequences, [owner for owner in owners for _ in range(3)], pooling)
    vectors = found.reshape(len(shown), 3, store.encoder.dim).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    first, second, question = np.moveaxis(vectors / np.where(lengths > 0, lengths, 1.0), 1, 0)
    style = [difference(*couple) for couple in shown]
    return Couples(
        np.array(style, dtype=np.float64).reshape(len(shown), N_STYLE),
        vectors[:, 0] - vectors[:, 1],
        (first - second) * question,
    )


def scales_of(couples: Couples) -> Scales:
    """Root mean squares over training couples, 1 where nothing varies."""
    style = scale_of(couples.style)
    nearness = couples.product.sum(axis=1, keepdims=True)
    lengths = [scale_of(np.linalg.norm(block, axis=1)) for block in (couples.embedding, nearness, couples.product)]
    return Scales(style, scale_of(_roots(couples.style / style)), np.array(lengths))


def columns(couples: Couples, scales: Scales) -> FloatArray:
    """All blocks side by side, `(n, 2 features + dim + 1 + dim)`: style, roots, embedding, nearness, product."""
    style = couples.style / scales.style
    nearness = couples.product.sum(axis=1, keepdims=True)
    blocks = (couples.embedding, nearness, couples.product)
    scaled = [block / length for block, length in zip(blocks, scales.lengths, strict=True)]
    return np.hstack([style, _roots(style) / scales.roots, *scaled])


def mean_margins(counts: Sequence[int], margins: FloatArray) -> list[FloatArray]:
    """Rewards of each item's completions: the mean margin over all of them, itself included at 0.

    Args:
        counts: Completions of each item.
        margins: First minus second of every couple of an item in the order of `combinations`, item by item.
    """
    found, start = [], 0
    for n in counts:
        table = np.zeros((n, n))
        for place, (first, second) in enumerate(combinations(range(n), 2)):
            table[first, second] = margins[start + place]
        start += n * (n - 1) // 2
        found.append((table - table.T).sum(axis=1) / max(1, n))
    return found


def _roots(values: FloatArray) -> FloatArray:
    """Signed roots: twenty exclamation marks more are not ten times two."""
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))
