"""Low-rank bases: planted bases are found, one basis is Bradley-Terry, new users mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from tests.rewards.populations import accuracy, plant

from personalrm.errors import BadInput
from personalrm.rewards.heads.bases import LowRankOptions
from personalrm.rewards.heads.low_rank import Bases, LowRank
from personalrm.rewards.reward_model import DevUser

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)
DIM, N_BASES = 16, 3
WEAK = {"ridge": 1e-3, "spread": 1e-3, "strength": 0.1}


def planted_mixtures(n_users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bases `(dim, bases)` and users' weights `(users, bases)` on the simplex."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(DIM, N_BASES)), rng.dirichlet(np.ones(N_BASES), size=n_users)


@pytest.mark.slow
def test_weights_of_planted_bases_are_found(tmp_path: Path) -> None:
    bases, mixtures = planted_mixtures(40)
    population = plant(tmp_path, mixtures @ bases.T, 200, noise=1.0)
    model = LowRank(population.store, LowRankOptions(n_bases=N_BASES))
    model.learned = Bases(bases, np.ones(DIM), np.zeros(N_BASES), 0.1)
    found = np.array([state.weights for state in model.condition_many(population.pairs)])
    assert np.corrcoef(found.ravel(), mixtures.ravel())[0, 1] >= 0.95


@pytest.mark.slow
def test_planted_bases_are_learned(tmp_path: Path) -> None:
    bases, mixtures = planted_mixtures(80)
    population = plant(tmp_path, mixtures @ bases.T, 200, noise=1.0)
    model = LowRank(population.store, LowRankOptions(n_bases=N_BASES, **WEAK)).fit(population.flat(range(80)))
    assert model.learned is not None
    learned = model.learned.bases / model.learned.scale[:, None]
    assert np.degrees(subspace_angles(learned, bases)).max() <= 10.0
    found = np.array([state.weights for state in model.condition_many(population.pairs)])
    affine = np.column_stack([found, np.ones(80)])
    rest = mixtures - affine @ np.linalg.lstsq(affine, mixtures, rcond=None)[0]
    assert 1.0 - rest.var(axis=0).sum() / mixtures.var(axis=0).sum() >= 0.9


def test_two_types_of_users_are_told_apart(tmp_path: Path) -> None:
    taste = np.random.default_rng(1).normal(size=DIM)
    population = plant(tmp_path, np.outer(np.tile([1.0, -1.0], 20), taste), 30)
    train, new = range(20), range(20, 40)
    personal = LowRank(population.store, LowRankOptions(n_bases=2, **WEAK)).fit(population.flat(train))
    general = LowRank(population.store, LowRankOptions(n_bases=1)).fit(population.flat(train))
    assert accuracy(personal, population, new, 10) > 0.9
    assert accuracy(general, population, new, 10) == pytest.approx(0.5, abs=0.06)


def test_one_basis_is_ridge_bradley_terry(tmp_path: Path) -> None:
    from scipy.optimize import minimize

    population = plant(tmp_path, np.random.default_rng(2).normal(size=(5, 4)), 20, noise=1.0)
    model = LowRank(population.store, LowRankOptions(n_bases=1, ridge=0.5)).fit(population.flat(range(5)))
    assert model.learned is not None
    rows = population.store.rows  # the same vectors, read independently of the model
    x = np.array([_difference(population, rows, pair) for own in population.pairs for pair in own])
    scaled = x / np.sqrt((x**2).mean(axis=0))
    wanted = minimize(
        lambda v: np.logaddexp(0, -scaled @ v).sum() + 0.5 * 4 * 0.5 * (v**2).sum(), np.zeros(4), tol=1e-12
    )
    assert model.learned.bases[:, 0] == pytest.approx(wanted.x, abs=1e-4)


def _difference(population, rows, pair):  # type: ignore[no-untyped-def]
    from personalrm.embedding.encoders import TextSequence

    chosen, rejected = rows([TextSequence(pair.conversation, text) for text in (pair.chosen, pair.rejected)])
    matrix = population.store.matrix().astype(float)
    return matrix[chosen] - matrix[rejected]


def test_dev_users_choose_how_far_to_trust_few_pairs(tmp_path: Path) -> None:
    taste = np.random.default_rng(1).normal(size=DIM)
    population = plant(tmp_path, np.outer(np.tile([1.0, -1.0], 20), taste), 20)
    dev = [DevUser(tuple(own[:10]), tuple(own[10:])) for own in population.pairs[20:30]]
    model = LowRank(population.store, LowRankOptions(n_bases=2, **WEAK)).fit(population.flat(range(20)), dev=dev)
    assert model.learned is not None and model.learned.strength == 0.1


@pytest.mark.parametrize("options", [{"n_bases": 0}, {"ridge": 0.0}, {"strength": -1.0}, {"spread": float("nan")}])
def test_options_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        LowRankOptions(**options)  # type: ignore[arg-type]
