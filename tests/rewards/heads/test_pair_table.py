"""Pairs as integers: users are slices, time is order, one choice is one observation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.simulations.planted_encoder import PlantedEncoder

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.rewards.heads.pair_table import PairTexts, make_context_table, make_pair_table
from personalrm.testing import tiny_pair


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path, PlantedEncoder())


def test_users_are_slices_in_order_of_appearance(store: EmbeddingStore) -> None:
    table = make_pair_table([tiny_pair("b", 0), tiny_pair("a", 0), tiny_pair("b", 1)], store)
    assert (table.user_ids, table.offsets.tolist(), table.user.tolist()) == (("b", "a"), [0, 2, 3], [0, 0, 1])


def test_a_history_is_in_time_order(store: EmbeddingStore) -> None:
    table = make_pair_table([tiny_pair(number=2), tiny_pair(number=0), tiny_pair(number=1)], store)
    assert [pair.order_index for pair in table.pairs] == [0, 1, 2] and table.time.tolist() == [0, 1, 2]


def test_rows_are_those_of_the_store(store: EmbeddingStore) -> None:
    pair = tiny_pair()
    table = make_pair_table([pair], store, reading=PairTexts(with_prompts=True))
    wanted = store.rows([TextSequence(pair.conversation, text) for text in (pair.chosen, pair.rejected, None)])
    assert [table.chosen_row[0], table.rejected_row[0], table.prompt_row[0]] == wanted.tolist()


def test_prompts_are_embedded_only_where_asked_for(store: EmbeddingStore) -> None:
    assert make_pair_table([tiny_pair()], store).prompt_row.tolist() == [-1] and len(store) == 2


def test_pairs_of_one_choice_share_one_observation(store: EmbeddingStore) -> None:
    pair = tiny_pair()
    table = make_pair_table([pair, replace(pair, rejected="Stay at home."), tiny_pair(number=1)], store)
    assert table.weight.tolist() == [0.5, 0.5, 1.0]


def test_the_same_choice_of_two_users_is_two_observations(store: EmbeddingStore) -> None:
    assert make_pair_table([tiny_pair("a"), tiny_pair("b")], store).weight.tolist() == [1.0, 1.0]


def test_the_table_owns_its_texts_by_user(store: EmbeddingStore) -> None:
    make_pair_table([tiny_pair("a"), tiny_pair("b", 1)], store)
    assert (store.erase("a"), len(store)) == (2, 2)


def test_padding_marks_what_is_real(store: EmbeddingStore) -> None:
    table = make_pair_table([tiny_pair("a", 0), tiny_pair("a", 1), tiny_pair("b", 2)], store)
    places, real = table.padded()
    assert (places.tolist(), real.tolist()) == ([[0, 1], [2, 0]], [[True, True], [True, False]])


class Deaf(PlantedEncoder):
    """Makes no vector of texts that hold a word."""

    def embed(self, sequences):
        embedded = super().embed(sequences)
        for place, sequence in enumerate(sequences):
            if "unheard" in (sequence.completion or ""):
                embedded.last[place] = embedded.mean[place] = np.nan
        return embedded


@pytest.fixture
def deaf(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path, Deaf())


def test_a_pair_without_a_vector_is_left_out_alone(deaf: EmbeddingStore) -> None:
    pairs = [tiny_pair(user, number) for user in ("a", "b", "c") for number in range(2)]
    pairs[1] = replace(pairs[1], rejected="unheard")
    pairs[2:4] = [replace(pair, chosen=f"unheard {pair.chosen}") for pair in pairs[2:4]]
    with pytest.warns(RuntimeWarning, match="^3 of 6 pairs left out: the encoder makes no vector"):
        table = make_pair_table(pairs, deaf)
    assert (table.user_ids, table.offsets.tolist(), len(table)) == (("a", "c"), [0, 1, 3], 3)
    contexts = make_context_table([pairs[:2], pairs[2:4], pairs[4:]], deaf)
    assert contexts.counts.tolist() == [1, 0, 2]


def test_pairs_of_which_none_has_vectors_make_no_table(deaf: EmbeddingStore) -> None:
    with pytest.raises(BadInput, match="in 1 of 1 pair; take another encoder"):
        make_pair_table([replace(tiny_pair(), chosen="unheard")], deaf)


def test_nothing_makes_no_table(store: EmbeddingStore) -> None:
    with pytest.raises(BadInput, match="no pairs"):
        make_pair_table([], store)


def test_numbers_of_conversations_are_the_users_own(store: EmbeddingStore) -> None:
    table = make_pair_table([tiny_pair("a"), tiny_pair("a", likes_long=True), tiny_pair("b")], store)
    assert np.array_equal(table.conversation, [0, 0, 1])
