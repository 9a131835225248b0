"""Active units and own minus somebody else's state, the same for every method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from benchmarks.simulations.planted_encoder import PlantedEncoder
from tests.rewards.test_conformance import IMPERSONAL, MODELS, TRAINING, Row, user_pairs

from personalrm.embedding.store import EmbeddingStore
from personalrm.rewards.controls import active_units, controls, state_units
from personalrm.rewards.reward_model import DevUser

pytestmark = pytest.mark.slow
METHODS = ["population", "low_rank", "mrm", "soup", "gpo", "pal", "vpl", "bradley_terry", "bradley_terry_history"]
METHODS += ["vpl_lm", "bradley_terry_soup_weights"]
DEV = [DevUser(tuple(user_pairs(user, 8)[:5]), tuple(user_pairs(user, 8)[5:])) for user in range(10, 14)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return EmbeddingStore(tmp_path_factory.mktemp("store"), PlantedEncoder())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_both_controls(name: str, store: EmbeddingStore) -> None:
    row: Row = MODELS[name]
    model = row.make(store).fit(TRAINING)
    found = controls(model, DEV)
    assert found is not None and found.against_shuffled is not None and found.own.n_pairs == 12
    if name in IMPERSONAL:
        assert found.active_share == 0.0 and found.against_shuffled.difference == 0.0 and found.is_same_for_all
    else:
        assert state_units(model, model.condition_many([one.context for one in DEV]), DEV[0].targets).var() > 0


class Sign:
    """Knows of a user whether their last choice was the longer completion."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def condition_many(self, contexts):
        return [float(np.sign(len(pairs[-1].chosen) - len(pairs[-1].rejected))) for pairs in contexts]

    def score_many(self, items):
        return [item.state * self.scale * np.array([float(len(text)) for text in item.completions]) for item in items]


def test_a_perfect_personal_model_loses_what_strangers_states_cost() -> None:
    found = controls(Sign(), DEV)
    assert found is not None and found.against_shuffled is not None
    assert found.own.accuracy == 1.0 and found.active_share == 1.0
    # Of the three others a user may get the state of, two have the opposite taste.
    assert 0.3 <= found.against_shuffled.difference <= 1.0


def test_one_user_has_nobody_to_be_shuffled_with_and_none_no_controls() -> None:
    found = controls(Sign(), DEV[:1])
    assert found is not None and found.against_shuffled is None
    assert controls(Sign(), []) is None and controls(Sign(), [DevUser(DEV[0].context, ())]) is None


def test_a_unit_is_active_where_users_differ() -> None:
    assert active_units(np.array([[0.0, 1.0, 0.5], [0.0, 2.0, 0.5]])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_active_units_do_not_depend_on_the_unit_of_rewards(scale):
    """Margins of a thousandth would all have a variance below an absolute threshold."""
    states = Sign().condition_many([user.context for user in DEV])
    large, small = (state_units(model, states, DEV[0].targets) for model in (Sign(), Sign(scale)))
    assert small == pytest.approx(large) and active_units(small) == 1.0


@dataclass(frozen=True)
class Latent:
    z: np.ndarray


def test_latents_that_collapsed_to_noise_are_not_active():
    """The prior says how far z may lie; measured by itself, any noise would tell users apart."""
    states = [Latent(1e-3 * np.random.default_rng(user).normal(size=4)) for user in range(9)]
    assert active_units(state_units(Sign(), states, [])) == 0.0
