"""Packed trees: every sequence can be read back along what its leaf sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.embedding.token_tree import TokenTree, common_length, make_tree, pack

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=8)


def read_back(tree: TokenTree) -> dict[int, tuple[int, ...]]:
    """Each sequence's tokens, from the row of its leaf."""
    visible = tree.visible()
    return {int(n): tuple(tree.tokens[visible[leaf]]) for n, leaf in zip(tree.sequences, tree.leaves, strict=True)}


@settings(max_examples=60, deadline=None)
@given(SEQUENCES)
def test_every_sequence_is_what_its_leaf_sees(sequences: list[tuple[int, ...]]) -> None:
    found: dict[int, tuple[int, ...]] = {}
    for tree in pack(sequences, max_tokens=20):
        found |= read_back(tree)
    assert found == dict(enumerate(sequences))


@settings(max_examples=60, deadline=None)
@given(SEQUENCES)
def test_one_tree_holds_each_beginning_once(sequences: list[tuple[int, ...]]) -> None:
    tree = make_tree(sorted(sequences), range(len(sequences)))
    assert len(tree) == len({s[:n] for s in sequences for n in range(1, len(s) + 1)})


@settings(max_examples=60, deadline=None)
@given(SEQUENCES)
def test_a_position_is_the_number_of_tokens_before(sequences: list[tuple[int, ...]]) -> None:
    tree = make_tree(sorted(sequences), range(len(sequences)))
    assert np.array_equal(tree.positions, tree.visible().sum(axis=1) - 1)


def test_a_pair_shares_its_prompt() -> None:
    (tree,) = pack([(1, 2, 3, 4), (1, 2, 3, 5, 6)], max_tokens=100)
    assert tree.tokens.tolist() == [1, 2, 3, 4, 5, 6] and tree.positions.tolist() == [0, 1, 2, 3, 3, 4]


def test_strangers_do_not_share_a_tree() -> None:
    assert len(pack([(1, 2, 3, 4, 5), (1, 9, 9, 9, 9)], max_tokens=100)) == 2


def test_a_tree_stays_below_its_limit() -> None:
    sequences = [(1, 2, 3, n) for n in range(20)]
    assert max(len(tree) for tree in pack(sequences, max_tokens=8)) == 8


def test_a_long_sequence_is_a_tree_of_its_own() -> None:
    assert [len(tree) for tree in pack([tuple(range(50))], max_tokens=8)] == [50]


def test_no_sequences_make_no_trees() -> None:
    assert pack([], max_tokens=8) == []


@pytest.mark.parametrize(
    ("left", "right", "length"), [((), (1,), 0), ((1,), (1,), 1), ((1, 2), (1, 3), 1), ((2,), (1,), 0)]
)
def test_common_length(left: tuple[int, ...], right: tuple[int, ...], length: int) -> None:
    assert common_length(left, right) == length
