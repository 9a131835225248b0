"""Token trees side by side, cut into segments for attention.

A segment is a run of tokens in which nothing branches, so its tokens see the same tokens
before it: the segments on the way to their root. Attention is computed segment by
segment, against the keys of those and its own, which needs no mask of N x N and costs
what the sequences' own attention costs, a shared beginning counted once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from personalrm.embedding.token_tree import Tokens, TokenTree, make_tree, pack
from personalrm.errors import BadInput
from personalrm.stats.arrays import IntArray

MOST_TREE_TOKENS = 2**40
"""Trees of a forest are bounded by what is put in, not by packing."""


@dataclass(frozen=True)
class Segment:
    """Tokens start ... end - 1, which see the tokens of `before` (ranges, in order) and, causally, each other."""

    start: int
    end: int
    before: tuple[tuple[int, int], ...]
    below: int
    """One behind the last token that sees this segment; `end` where nothing branches off it."""


@dataclass(frozen=True, repr=False)
class Forest:
    """Sequences as trees, one behind the other."""

    trees: tuple[TokenTree, ...]
    n_sequences: int
    n_cached: int = 0
    """Tokens of a beginning of all trees whose keys and values are kept elsewhere."""
    scratch: dict[Hashable, Any] = field(default_factory=dict, compare=False)
    """What a model's layers compute once for all of them, such as masks."""

    @cached_property
    def tokens(self) -> IntArray:
        """Shape `(N,)`."""
        return np.concatenate([tree.tokens for tree in self.trees]).astype(np.int64)

    @cached_property
    def positions(self) -> IntArray:
        """Shape `(N,)`, restarting in every tree."""
        return np.concatenate([tree.positions for tree in self.trees]) + self.n_cached

    @cached_property
    def leaves(self) -> IntArray:
        """Shape `(sequences,)`, the place where each sequence ends."""
        places = np.full(self.n_sequences, -1, dtype=np.int64)
        for start, tree in zip(self._starts, self.trees, strict=True):
            places[tree.sequences] = tree.leaves + start
        return places

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All segments, maximal runs without a branch; ranges count from the first token of the forest."""
        found: list[Segment] = []
        for offset, tree in zip(self._starts, self.trees, strict=True):
            # Token j + 1 goes on in j's run exactly if it covers all that lies below j.
            borders = [0, *(np.flatnonzero(np.diff(tree.ends) != 0) + 1).tolist(), len(tree.ends)]
            path: list[Segment] = []  # the runs above
            for start, end in pairwise(borders):
                while path and path[-1].below <= start + offset:
                    path.pop()
                before = tuple((above.start, above.end) for above in path)
                path.append(Segment(start + offset, end + offset, before, int(tree.ends[start]) + offset))
                found.append(path[-1])
        return tuple(found)

    def visible(self) -> npt.NDArray[np.bool_]:
        """Shape `(N, cached + N)`: what each token may attend to."""
        seen = np.zeros((len(self), len(self)), dtype=np.bool_)
        for start, tree in zip(self._starts, self.trees, strict=True):
            seen[start : start + len(tree), start : start + len(tree)] = tree.visible()
        return np.concatenate([np.ones((len(self), self.n_cached), dtype=np.bool_), seen], axis=1)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *np.cumsum([len(tree) for tree in self.trees])[:-1].tolist()]

    def __len__(self) -> int:
        return sum(len(tree) for tree in self.trees)

    def __repr__(self) -> str:
        return f"Forest(trees={len(self.trees)}, sequences={self.n_sequences}, tokens={len(self)})"


def make_forest(sequences: Sequence[Tokens], keys: Sequence[Hashable], *, n_cached: int = 0) -> Forest:
    """Trees of the sequences; only sequences of one key share a beginning.

    Args:
        sequences: Token ids, none empty.
        keys: Who may share with whom, one a sequence.
        n_cached: See `Forest`.

    Raises:
        BadInput: If there is no sequence or one is empty.
    """
    if not sequences or not all(sequences):
        raise BadInput("a forest needs sequences of at least one token")
    groups: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    trees = []
    for group in groups.values():
        if len(group) == 1:
            trees.append(make_tree([sequences[group[0]]], group))
            continue
        numbers = np.array(group, dtype=np.int64)  # `pack` counts from 0
        for tree in pack([sequences[number] for number in group], max_tokens=MOST_TREE_TOKENS):
            trees.append(replace(tree, sequences=numbers[tree.sequences]))
    return Forest(tuple(trees), len(sequences), n_cached)
