"""Token sequences packed as trees, so that what several begin with is computed once.

Under causal attention a token sees only what comes before it, so sequences with a common
beginning have equal hidden states along it. A tree holds each different beginning once,
in preorder: the descendants of token j are the tokens j + 1 ... ends[j] - 1. Token i may
attend to token j exactly if j <= i < ends[j], and its position is its depth; hidden
states at the leaves then equal those of the sequences run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import IntArray

Tokens = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class TokenTree:
    """Some sequences as one tree of N tokens."""

    tokens: IntArray
    """Shape `(N,)`, preorder."""
    positions: IntArray
    """Shape `(N,)`, depth from 0."""
    ends: IntArray
    """Shape `(N,)`, one behind the last descendant."""
    sequences: IntArray
    """Shape `(sequences,)`, number of each in what was packed."""
    leaves: IntArray
    """Shape `(sequences,)`, place of each sequence's last token."""

    def __len__(self) -> int:
        return len(self.tokens)

    def visible(self) -> npt.NDArray[np.bool_]:
        """Shape `(N, N)`: whether token i (row) may attend to token j; a leaf's row marks its whole sequence."""
        places = np.arange(len(self.tokens))
        return np.asarray((places <= places[:, None]) & (places[:, None] < self.ends))


def make_tree(sequences: Sequence[Tokens], numbers: Sequence[int]) -> TokenTree:
    """The tree of non-empty token sequences; equal ones share a leaf.

    Args:
        sequences: In lexicographic order, so that common beginnings are neighbors.
        numbers: What each is called in `TokenTree.sequences`.
    """
    tokens: list[int] = []
    positions: list[int] = []
    leaves: list[int] = []
    ends: dict[int, int] = {}
    path: list[int] = []  # places of the tokens of the sequence before
    before: Tokens = ()
    for sequence in sequences:
        shared = common_length(before, sequence)
        for place in path[shared:]:
            ends[place] = len(tokens)
        fresh = range(len(tokens), len(tokens) + len(sequence) - shared)
        path[shared:] = fresh
        tokens.extend(sequence[shared:])
        positions.extend(range(shared, len(sequence)))
        leaves.append(path[-1])
        before = sequence
    for place in path:
        ends[place] = len(tokens)
    last = np.array([ends[place] for place in range(len(tokens))], dtype=np.int64)
    return TokenTree(np.array(tokens), np.array(positions), last, np.array(numbers), np.array(leaves))


def pack(sequences: Sequence[Tokens], *, max_tokens: int, least_shared: float = 0.25) -> list[TokenTree]:
    """Trees that hold all sequences, each tree's sequences sharing their beginning.

    Attention costs the square of a tree's tokens, so a sequence joins the tree of its
    neighbor only if enough of it is shared and the tree stays small.

    Args:
        sequences: Token ids, none empty, in any order.
        max_tokens: Most tokens of a tree, unless a single sequence has more.
        least_shared: Share of a sequence that its neighbor must begin with to join the tree.
    """
    order = sorted(range(len(sequences)), key=lambda number: sequences[number])
    groups: list[list[int]] = []
    size = 0
    before: Tokens = ()
    for number in order:
        sequence = sequences[number]
        shared = common_length(before, sequence)
        grown = size + len(sequence) - shared
        if groups and shared >= least_shared * len(sequence) and grown <= max_tokens:
            groups[-1].append(number)
            size = grown
        else:
            groups.append([number])
            size = len(sequence)
        before = sequence
    return [make_tree([sequences[number] for number in group], group) for group in groups]


def common_length(left: Tokens, right: Tokens) -> int:
    """How many tokens two sequences have in common from the start."""
    shortest = min(len(left), len(right))
    if left[:shortest] == right[:shortest]:
        return shortest
    low, high = 0, shortest  # equal up to low, different up to high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if left[:middle] == right[:middle] else (low, middle)
    return low
