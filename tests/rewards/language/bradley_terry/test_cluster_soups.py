"""Soups over clusters of users: exact mixtures, weights from a few choices, resumed like any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.rewards.tiny import tiny_model, tiny_options

from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.low_rank import MixtureState
from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup, BradleyTerrySoupOptions
from personalrm.rewards.reward_model import DevUser, ScoreItem, margins
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow
OPTIONS = BradleyTerrySoupOptions(n_clusters=2, strength=0.1, adapters=tiny_options(epochs=3, sharing="pair"))
QUESTION = tiny_pair().conversation
COMPLETIONS = ("One.", "Two, and more of it.", "Three!")


def choices(user: int, n_pairs: int = 6) -> list[PreferencePair]:
    """Even users like long completions, odd ones short."""
    return [tiny_pair(f"u{user}", 10 * user + k, likes_long=user % 2 == 0) for k in range(n_pairs)]


TRAINING = [pair for user in range(6) for pair in choices(user)]


@pytest.fixture(scope="module")
def model() -> BradleyTerrySoup:
    return BradleyTerrySoup(tiny_model(), OPTIONS).fit(TRAINING)


def under(model: BradleyTerrySoup, mixture: Literal["weights", "rewards"], weights: list[float]) -> list[float]:
    """Rewards for a user with these weights."""
    before = model.options
    model.options = replace(before, mixture_of=mixture)
    rewards = model.score_many([ScoreItem(MixtureState(np.array(weights)), QUESTION, COMPLETIONS)])[0].tolist()
    model.options = before
    return rewards


@pytest.mark.parametrize("mixture", ["weights", "rewards"])
@pytest.mark.parametrize("place", [0, 1])
def test_all_weight_on_one_adapter_is_that_adapter_bit_for_bit(
    model: BradleyTerrySoup, mixture: Literal["weights", "rewards"], place: int
) -> None:
    found = model.mixed(np.eye(2)[place].tolist())
    assert all(found.arrays[name].tobytes() == one.tobytes() for name, one in model.adapters[place].arrays.items())
    alone = model._fitted().with_adapter(model.adapters[place])
    wanted = alone.score(alone.condition([]), QUESTION, COMPLETIONS).tolist()
    assert under(model, mixture, np.eye(2)[place].tolist()) == wanted


def test_mixed_rewards_are_the_sum_of_rewards_and_mixed_weights_the_model_of_the_soup(model: BradleyTerrySoup) -> None:
    single = [under(model, "rewards", np.eye(2)[k].tolist()) for k in (0, 1)]
    assert under(model, "rewards", [0.3, 0.7]) == pytest.approx(0.3 * np.array(single[0]) + 0.7 * np.array(single[1]))
    mixed = model._fitted().with_adapter(model.mixed([0.3, 0.7]))
    wanted = mixed.score(mixed.condition([]), QUESTION, COMPLETIONS)
    assert under(model, "weights", [0.3, 0.7]) == pytest.approx(wanted, abs=1e-6)
    assert np.abs(wanted - np.array(under(model, "rewards", [0.3, 0.7]))).max() > 1e-6


def test_scoring_leaves_the_adapters_as_they_are(model: BradleyTerrySoup) -> None:
    before = [{name: one.copy() for name, one in adapter.arrays.items()} for adapter in model.adapters]
    model.score_many([ScoreItem(model.condition(choices(7, 4)), QUESTION, COMPLETIONS)])
    for old, adapter in zip(before, model.adapters, strict=True):
        assert all(np.array_equal(old[name], one) for name, one in adapter.arrays.items())


def test_opposite_users_get_adapters_of_their_own_and_new_ones_find_theirs(model: BradleyTerrySoup) -> None:
    states = model.condition_many([choices(8, 4), choices(9, 4)])
    for state, user in zip(states, (8, 9), strict=True):
        targets = choices(user, 9)[4:]
        assert (margins(model, [state] * 5, targets) > 0).all()
    everybody = model._fitted()
    everybody.wear(model.mixed([0.5, 0.5]))
    targets = choices(8, 9)[4:] + choices(9, 9)[4:]
    shared = margins(everybody, [everybody.condition([])] * 10, targets)
    assert (shared > 0).mean() == pytest.approx(0.5, abs=0.2)


def test_without_context_all_adapters_count_equally(model: BradleyTerrySoup) -> None:
    assert model.condition([]).weights == pytest.approx([0.5, 0.5])


def test_uniform_mixing_asks_nobody(model: BradleyTerrySoup) -> None:
    before = model.options
    model.options = replace(before, mixing="uniform")
    assert model.condition(choices(8)).weights.tolist() == [0.5, 0.5]
    model.options = before


def test_a_cluster_without_users_has_everybodys_adapter() -> None:
    model = BradleyTerrySoup(tiny_model(), OPTIONS).fit(choices(0, 3))
    everybody = model._fitted().adapter()
    same = [all(np.array_equal(one.arrays[n], everybody.arrays[n]) for n in one.arrays) for one in model.adapters]
    assert sorted(same) == [False, True]


def test_a_soup_killed_between_two_adapters_goes_on_to_the_same(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    dev = [DevUser(tuple(choices(8, 3)), tuple(choices(8, 5)[3:]))]
    whole = BradleyTerrySoup(tiny_model(), OPTIONS, checkpoint=file).fit(TRAINING, dev=dev)
    (tmp_path / "checkpoint-1.safetensors").unlink()
    again = BradleyTerrySoup(tiny_model(), OPTIONS, checkpoint=file).fit(TRAINING, dev=dev)
    for one, other in zip(whole.adapters, again.adapters, strict=True):
        assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
    assert again.strength == whole.strength
