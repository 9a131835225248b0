"""Attention merged by denominators against one softmax over all that a token sees."""

from __future__ import annotations

import pytest
import torch

from personalrm.rewards.language.forests.attention import can_merge, merged_attention
from personalrm.rewards.language.forests.forest import Forest, make_forest

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
STAR = [(1, 2, 3, n, n + 1) for n in range(10, 30, 2)]
NESTED = [(1, 2, 3), (1, 2, 3, 4), (1, 2, 5, 6, 7), (1, 2, 5, 6, 8), (9,)]


def drawn(forest: Forest, *, kv_heads: int = 4, size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    n = len(forest)
    shapes = ((4, n), (kv_heads, forest.n_cached + n), (kv_heads, forest.n_cached + n))
    q, k, v = (torch.randn(1, heads, tokens, 8, generator=generator) for heads, tokens in shapes)
    return size * q, size * k, v


def one_softmax(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, forest: Forest) -> torch.Tensor:
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) / 8**0.5
    return scores.masked_fill(~torch.from_numpy(forest.visible()), -torch.inf).softmax(dim=-1) @ v


@pytest.mark.parametrize("sequences", [STAR, NESTED, [(1,)]])
@pytest.mark.parametrize("n_cached", [0, 5])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@torch.no_grad()
def test_merged_parts_are_one_softmax(sequences: list[tuple[int, ...]], n_cached: int, kv_heads: int) -> None:
    forest = make_forest(sequences, [0] * len(sequences), n_cached=n_cached)
    q, k, v = drawn(forest, kv_heads=kv_heads)
    found = merged_attention(q, k, v, forest=forest, scaling=8**-0.5)
    assert (found - one_softmax(q, k, v, forest)).abs().max() < 1e-5


@torch.no_grad()
def test_scores_far_apart_are_merged_without_overflow() -> None:
    forest = make_forest(NESTED, [0] * len(NESTED), n_cached=5)
    q, k, v = drawn(forest, size=30.0)
    found = merged_attention(q, k, v, forest=forest, scaling=8**-0.5)
    assert torch.isfinite(found).all()
    assert (found - one_softmax(q, k, v, forest)).abs().max() < 1e-3


def test_gradients_and_dropout_are_left_to_the_other_way() -> None:
    q = torch.zeros(1, 1, 1, 8)
    assert not can_merge(q, 0.0)
    with torch.no_grad():
        assert can_merge(q, 0.0)
        assert not can_merge(q, 0.1)


def test_trees_of_one_forest_see_nothing_of_each_other() -> None:
    forest = make_forest([(1, 2, 3), (1, 2, 4)], [0, 1])
    assert all(segment.below == segment.end for segment in forest.segments)
