"""What shares a forest, what its segments see, and how an epoch is cut into steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.errors import BadInput
from personalrm.rewards.language.forests.forest import make_forest
from personalrm.rewards.language.forests.pair_batches import PairForest, TokenPair, cut_to_budget, order_steps, plant

SHORT = st.lists(st.integers(5, 8), min_size=1, max_size=6).map(tuple)


@given(st.lists(SHORT, min_size=1, max_size=8))
def test_segments_cover_every_token_once(sequences: list[tuple[int, ...]]) -> None:
    forest = make_forest(sequences, [0] * len(sequences))
    assert [t for one in forest.segments for t in range(one.start, one.end)] == list(range(len(forest)))


@given(st.lists(SHORT, min_size=1, max_size=8))
def test_segments_see_what_the_mask_shows(sequences: list[tuple[int, ...]]) -> None:
    forest = make_forest(sequences, [0] * len(sequences))
    seen = np.zeros((len(forest), len(forest)), dtype=bool)
    for one in forest.segments:
        for start, end in one.before:
            seen[one.start : one.end, start:end] = True
        seen[one.start : one.end, one.start : one.end] = np.tri(one.end - one.start, dtype=bool)
    assert np.array_equal(seen, forest.visible())


def test_sharing_saves_the_prompt_and_the_equal_opening_of_completions() -> None:
    pair = TokenPair((1, 2, 3, 4, 9, 9), (1, 2, 3, 4, 9, 8, 8), 0)
    assert (len(plant([pair]).forest), len(plant([pair], is_shared=False).forest), pair.n_tokens) == (8, 13, 8)


def test_a_conversation_tree_holds_a_chosen_completion_once() -> None:
    pairs = [
        TokenPair((1, 2, 3), (1, 2, 4), "c"),
        TokenPair((1, 2, 3), (1, 2, 5), "c"),
        TokenPair((1, 2, 3, 6), (1, 2, 3, 7), "c"),
    ]
    assert len(plant(pairs).forest) == 7


def test_pairs_of_different_keys_share_nothing() -> None:
    pairs = [TokenPair((1, 2, 3), (1, 2, 4), key) for key in ("a", "b")]
    planted: PairForest = plant(pairs)
    assert len(planted.forest) == 8 and len(planted.forest.trees) == 2


def test_nothing_makes_no_forest() -> None:
    for sequences in ([], [()]):
        with pytest.raises(BadInput, match="at least one token"):
            make_forest(sequences, [0] * len(sequences))


def many_pairs(n: int) -> list[TokenPair]:
    rng = np.random.default_rng(0)
    return [TokenPair((1,) * int(rng.integers(2, 50)), (1, 2), key=place // 3) for place in range(n)]


def test_an_epoch_holds_every_pair_once_and_keys_stay_together() -> None:
    steps = order_steps(many_pairs(100), pairs_a_step=8, seed=0)
    assert sorted(place for step in steps for place in step) == list(range(100))
    assert max(map(len, steps)) <= 8
    assert all(sum(bool({place // 3 for place in step} & {key}) for step in steps) == 1 for key in range(34))


def test_orders_differ_by_seed_only() -> None:
    pairs = many_pairs(60)
    orders = [order_steps(pairs, pairs_a_step=4, seed=seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_lengths_are_even_inside_a_step() -> None:
    pairs = [TokenPair((1,) * (1 + place), (2,), key=place) for place in range(64)]
    steps = order_steps(pairs, pairs_a_step=4, seed=0)
    assert max(max(step) - min(step) for step in steps) == 3


def test_a_key_with_more_pairs_than_a_step_is_cut() -> None:
    pairs = [TokenPair((1, place), (2,), key=0) for place in range(10)]
    assert sorted(map(len, order_steps(pairs, pairs_a_step=4, seed=0))) == [2, 4, 4]


def test_forests_stay_within_the_budget() -> None:
    pairs = many_pairs(60)
    parts = cut_to_budget(pairs, range(60), max_tokens=100)
    assert sorted(place for part in parts for place in part) == list(range(60))
    assert all(len(plant([pairs[place] for place in part]).forest) <= 100 for part in parts)


def test_a_pair_over_the_budget_is_a_part_of_its_own() -> None:
    pairs = [TokenPair((1,) * 30, (2,), 0), TokenPair((3,), (4,), 1), TokenPair((5,), (6,), 2)]
    assert cut_to_budget(pairs, range(3), max_tokens=10) == [[0], [1, 2]]


def test_pairs_of_equal_tokens_are_left_out_and_a_training_of_nothing_else_is_refused() -> None:
    same, different = TokenPair((1, 2), (1, 2), 0), TokenPair((1, 2), (1, 3), 1)
    assert order_steps([same, different, same], pairs_a_step=8, seed=0) == [[1]]
    with pytest.raises(BadInput, match="all of 2 pairs are identical as the model reads them"):
        order_steps([same, same], pairs_a_step=8, seed=0)
