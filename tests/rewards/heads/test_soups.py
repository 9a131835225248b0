"""Soups: clusters of users, a head each, mixtures that are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.rewards.populations import Population, accuracy, plant

from personalrm.rewards.heads.bases import fit_head
from personalrm.rewards.heads.soups import Soup, SoupOptions, cluster_users, soup
from personalrm.rewards.reward_model import margins

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)
WEAK = {"ridge": 1e-3, "spread": 1e-3, "strength": 0.1}


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    taste = np.random.default_rng(1).normal(size=16)
    return plant(tmp_path_factory.mktemp("store"), np.outer(np.tile([1.0, -1.0], 20), taste), 30)


@pytest.fixture(scope="module")
def fitted(population: Population) -> Soup:
    return Soup(population.store, SoupOptions(n_bases=2, **WEAK)).fit(population.flat(range(20)))


def test_all_weight_on_one_head_returns_it_bit_for_bit() -> None:
    heads = np.random.default_rng(0).normal(size=(5, 3))
    heads[0] = -0.0
    for number in range(3):
        assert soup(heads, np.eye(3)[number]).tobytes() == heads[:, number].tobytes()


def test_mixing_changes_nothing_it_is_given() -> None:
    heads, weights = np.ones((4, 2)), np.array([1.0, 0.0])
    soup(heads, weights)[:] = 7.0
    assert (heads == 1.0).all() and weights.tolist() == [1.0, 0.0]


def test_a_mixture_of_heads_is_the_mixture_of_their_rewards(population: Population, fitted: Soup) -> None:
    assert fitted.learned is not None
    pair, state = population.pairs[0][0], fitted.condition(population.pairs[0][5:15])
    head = soup(fitted.learned.bases, state.weights) / fitted.learned.scale
    rows = population.store.rows([pair_side(pair, text) for text in (pair.chosen, pair.rejected)])
    apart = np.subtract(*population.store.matrix()[rows].astype(float))
    assert margins(fitted, [state], [pair])[0] == pytest.approx(apart @ head)


def pair_side(pair, text):  # type: ignore[no-untyped-def]
    from personalrm.embedding.encoders import TextSequence

    return TextSequence(pair.conversation, text)


def test_opposite_users_are_clustered_apart_and_new_ones_find_their_head(population: Population, fitted: Soup) -> None:
    assert fitted.learned is not None
    heads = fitted.learned.bases
    assert np.corrcoef(heads.T)[0, 1] < -0.9
    assert accuracy(fitted, population, range(20, 40), 10) >= 0.9


def test_uniform_soup_knows_nobody(population: Population) -> None:
    model = Soup(population.store, SoupOptions(n_bases=2, mixing="uniform", **WEAK)).fit(population.flat(range(20)))
    states = model.condition_many([population.pairs[0], population.pairs[1], []])
    assert [state.weights.tolist() for state in states] == [[0.5, 0.5]] * 3


def test_more_clusters_than_users_leave_heads_of_everybody(population: Population) -> None:
    model = Soup(population.store, SoupOptions(n_bases=6, ridge=0.1)).fit(population.flat(range(3)))
    assert model.learned is not None
    everybody = fit_head(*_scaled(population, model), 0.1, np.zeros(16), 200)
    alike = np.abs(model.learned.bases - everybody[:, None]).max(axis=0) < 1e-6
    assert alike.sum() == 3 and np.isfinite(model.learned.bases).all()


def _scaled(population: Population, model: Soup) -> tuple[np.ndarray, np.ndarray]:
    from personalrm.rewards.heads.pair_table import differences, make_pair_table

    assert model.learned is not None
    table = make_pair_table(population.flat(range(3)), population.store)
    return differences(table, population.store, "last") / model.learned.scale, table.weight


def test_clusters_of_far_points_are_found() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(30, 4)) + 20.0 * side for side in (0, 1, 2)])
    found = cluster_users(points, 3, seed=0).reshape(3, 30)
    assert [len(set(row)) for row in found.tolist()] == [1, 1, 1] and len(set(found[:, 0].tolist())) == 3


def test_points_that_are_all_alike_are_clustered() -> None:
    assert len(cluster_users(np.ones((4, 2)), 3, seed=0)) == 4
