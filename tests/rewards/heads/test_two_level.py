"""Style and content on two levels, against an independent optimum, the embedded engine and planted tastes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.simulations.planted_encoder import PlantedEncoder
from scipy.optimize import minimize
from tests.rewards.populations import accuracy, plant

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.bases import LowRankOptions
from personalrm.rewards.heads.couples import columns, couples_of, mean_margins, scales_of
from personalrm.rewards.heads.low_rank import LowRank
from personalrm.rewards.heads.two_level import TwoLevel, TwoLevelOptions, fit_deviation
from personalrm.rewards.methods import reward_method
from personalrm.rewards.reward_model import margins
from personalrm.stylometry.encoder import StylometricEncoder
from personalrm.stylometry.features import difference
from personalrm.stylometry.observations import observe
from personalrm.stylometry.population import estimate_population
from personalrm.stylometry.weights import fit_weights
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)
QUESTION = (Message("user", "How are you?"),)
TRAINING = [tiny_pair(f"u{user}", 10 * user + k, likes_long=user % 3 > 0) for user in range(9) for k in range(6)]
CONTEXT = [tiny_pair("v", 100 + k, likes_long=False) for k in range(4)]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path, PlantedEncoder())


@pytest.mark.parametrize("n", [3, 7])
def test_a_deviation_is_the_minimum_that_another_solver_finds_with_fewer_and_more_pairs_than_columns(n: int) -> None:
    rng = np.random.default_rng(0)
    phi, offset, weights = rng.normal(size=(n, 5)) * 3, rng.normal(size=n), rng.uniform(0.2, 1.0, size=n)
    variance = np.array([0.5, 2.0, 1.0, 0.1, 4.0])

    def objective(v: np.ndarray) -> float:
        return float(weights @ np.logaddexp(0, -(offset + phi @ v)) + 0.5 * (v**2 / variance).sum())

    best = minimize(objective, np.zeros(5), tol=1e-10).x
    assert fit_deviation(phi, weights, offset, variance) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e3, 1e6])
def test_a_deviation_is_finite_whatever_the_size_of_differences(scale: float) -> None:
    phi = scale * np.random.default_rng(0).normal(size=(30, 8))
    found = fit_deviation(phi, np.ones(30), np.zeros(30), np.ones(8))
    assert np.isfinite(found).all()


def test_choices_that_contradict_each_other_say_nothing() -> None:
    phi = np.random.default_rng(0).normal(size=(5, 3))
    found = fit_deviation(np.vstack([phi, -phi]), np.ones(10), np.zeros(10), np.ones(3))
    assert found == pytest.approx(np.zeros(3), abs=1e-6)


def test_without_deviations_and_engine_everybody_is_the_average_user(store: EmbeddingStore) -> None:
    options = TwoLevelOptions(own_style=0.0, own_embedding=0.0, engine=0.0)
    model = TwoLevel(store, options).fit(TRAINING)
    assert model.condition(CONTEXT).weights == pytest.approx(model.condition([]).weights)


def test_with_the_engine_alone_margins_are_the_engines(store: EmbeddingStore) -> None:
    model = TwoLevel(store, TwoLevelOptions(engine=1.0)).fit(TRAINING)
    users = {f"u{user}": TRAINING[6 * user : 6 * user + 6] for user in range(9)}
    prior = estimate_population({user: observe(pairs) for user, pairs in users.items()}).prior_for("a stranger")
    (weights,) = fit_weights([observe(CONTEXT)], [prior])
    wanted = weights.margin(difference(QUESTION, "Yes.", "It might perhaps be so, or not."))
    rewards = model.score(model.condition(CONTEXT), QUESTION, ["Yes.", "It might perhaps be so, or not."])
    assert rewards[0] - rewards[1] == pytest.approx(wanted, abs=1e-9)


def test_a_user_who_likes_short_answers_gets_them(store: EmbeddingStore) -> None:
    model = TwoLevel(store).fit(TRAINING)
    states = [model.condition([]), model.condition(CONTEXT)]
    targets = [tiny_pair("v", 200 + k, likes_long=False) for k in range(4)]
    average, own = (margins(model, [state] * 4, targets).mean() for state in states)
    assert average < 0 < own


def test_a_taste_that_no_two_users_share_is_read_from_twenty_choices(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(120, 8))
    population = plant(tmp_path, weights, 40)
    model = TwoLevel(population.store, TwoLevelOptions(engine=0.0)).fit(population.flat(range(60), 20))
    shared = LowRank(population.store, LowRankOptions(n_bases=1)).fit(population.flat(range(60), 20))
    assert accuracy(model, population, range(60, 120), 20) >= 0.75
    assert accuracy(shared, population, range(60, 120), 20) == pytest.approx(0.5, abs=0.05)


def test_exchanging_completions_changes_every_sign(store: EmbeddingStore) -> None:
    there = couples_of(store, [(QUESTION, "Yes!", "No, not at all.")], "last", [""])
    back = couples_of(store, [(QUESTION, "No, not at all.", "Yes!")], "last", [""])
    scales = scales_of(there)
    assert columns(there, scales) == pytest.approx(-columns(back, scales), abs=1e-7)


@pytest.mark.parametrize("text", ["", " ", "x" * 20_000, "\ud800", "你好。", "\x00", "🙂" * 50])
def test_odd_completions_have_finite_rewards(store: EmbeddingStore, text: str) -> None:
    model = TwoLevel(store).fit(TRAINING)
    rewards = model.score(model.condition(CONTEXT), QUESTION, [text, "Yes.", text])
    assert np.isfinite(rewards).all() and rewards[0] == pytest.approx(rewards[2])


def test_vectors_of_zeros_leave_style_to_decide(tmp_path: Path) -> None:
    class Blind(PlantedEncoder):
        def _vector(self, sequence: object) -> np.ndarray:
            return np.zeros(self.dim)

    model = TwoLevel(EmbeddingStore(tmp_path, Blind())).fit(TRAINING)
    rewards = model.score(model.condition(CONTEXT), QUESTION, ["Yes.", "It might perhaps be so, or not."])
    assert np.isfinite(rewards).all() and rewards[0] > rewards[1]


def test_a_conversation_without_a_question_is_refused_without_its_text(store: EmbeddingStore) -> None:
    model = TwoLevel(store).fit(TRAINING)
    with pytest.raises(BadInput, match="no user turn") as caught:
        model.score(model.condition([]), (Message("system", "secret"),), ["a", "b"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"style": 0.0}, {"embedding": float("nan")}, {"own_style": -1.0}, {"engine": 1.5}, {"n_iterations": 0}],
)
def test_options_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        TwoLevelOptions(**settings)  # type: ignore[arg-type]


def test_rewards_of_many_completions_are_mean_margins() -> None:
    found = mean_margins([2, 0, 3, 1], np.array([1.0, 2.0, 3.0, 4.0]))
    assert [one.tolist() for one in found] == [
        [0.5, -0.5],
        [],
        pytest.approx([5 / 3, 2 / 3, -7 / 3]),
        [0.0],
    ]


def test_it_stands_in_the_table_and_needs_no_dev_users(tmp_path: Path) -> None:
    assert not reward_method("two_level").uses_dev
    store = EmbeddingStore(tmp_path, StylometricEncoder())
    pairs: list[PreferencePair] = TRAINING[:12]
    assert TwoLevel(store).fit(pairs, dev=()).learned is not None
