"""MRM: inner steps against autograd, the outer loss, planted tastes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.simulations.planted_encoder import PlantedEncoder
from tests.rewards.populations import accuracy, plant

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.rewards.heads.gpo.episodes import EpisodeSizes, Pool
from personalrm.rewards.heads.mrm import MRM, MRMOptions, adapt
from personalrm.rewards.heads.pair_table import make_pair_table
from personalrm.rewards.heads.simplex import fit_simplex
from personalrm.rewards.reward_model import DevUser
from personalrm.rewards.training import Optimization
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)


def test_an_inner_step_is_a_gradient_step_of_the_summed_loss() -> None:
    torch.manual_seed(0)
    a, c = torch.randn(4, 6, 3, dtype=torch.float64), torch.rand(4, 6, dtype=torch.float64)
    logits = torch.tensor([0.3, -0.2, 0.0], dtype=torch.float64).repeat(4, 1).requires_grad_()
    margins = torch.einsum("unk,uk->un", a, torch.softmax(logits, dim=1))
    (gradient,) = torch.autograd.grad((c * torch.nn.functional.softplus(-margins)).sum(), logits)
    found = adapt(logits[0].detach(), a, c, MRMOptions(n_inner_steps=1, inner_rate=0.7))
    assert (found - (logits - 0.7 * gradient)).abs().max() < 1e-12


def test_the_outer_gradient_goes_through_the_inner_steps() -> None:
    torch.manual_seed(0)
    a, c = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True), torch.ones(2, 5, dtype=torch.float64)
    start = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, m: adapt(s, m, c, MRMOptions(n_inner_steps=3)), (start, a))


def test_padding_moves_nobody() -> None:
    a, c = torch.randn(1, 5, 3), torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]])
    there = adapt(torch.zeros(3), a, c, MRMOptions())
    assert (there - adapt(torch.zeros(3), a[:, :2], c[:, :2], MRMOptions())).abs().max() < 1e-6


def test_pairs_of_one_choice_count_once_in_the_adaptation_too(tmp_path: Path) -> None:
    """A new user's context is weighed so, and the start must be learned for what it will meet."""
    store = EmbeddingStore(tmp_path, PlantedEncoder())
    pairs = [replace(tiny_pair("u", n // 3), rejected=f"Other {n}.") for n in range(30)]
    table = make_pair_table(pairs, store)
    pool = Pool.of(table, np.ones((30, 1, 4)), "cpu")
    one = pool.draw(EpisodeSizes(1, empty_share=0.0), torch.Generator().manual_seed(0))
    assert one.context_weight[one.mask].numpy() == pytest.approx(np.full(int(one.mask.sum()), 1 / 3))


@pytest.mark.slow
def test_two_types_of_users_are_told_apart(tmp_path: Path) -> None:
    taste = np.random.default_rng(1).normal(size=16)
    population = plant(tmp_path, np.outer(np.tile([1.0, -1.0], 20), taste), 30)
    options = MRMOptions(n_bases=2, ridge=1e-3, spread=1e-3, optimization=Optimization(n_steps=100, learning_rate=1e-2))
    model = MRM(population.store, options).fit(population.flat(range(20)))
    assert accuracy(model, population, range(20, 40), 10) >= 0.9
    assert np.mean(model.curve.losses[-20:]) < np.mean(model.curve.losses[:20])


def heavy_and_light() -> tuple[np.ndarray, np.ndarray]:
    """3,000 pairs that each basis gets right more often than wrong, the first a little more."""
    rng = np.random.default_rng(0)
    a = rng.normal(loc=[0.6, 0.5, 0.4, 0.5], size=(3000, 4))
    return a, np.ones(3000)


def test_a_user_of_thousands_of_pairs_gets_a_mixture() -> None:
    a, c = (torch.as_tensor(one)[None] for one in heavy_and_light())
    found = torch.softmax(adapt(torch.zeros(4, dtype=torch.float64), a, c, MRMOptions()), dim=1)[0]
    wanted = fit_simplex([a[0].numpy()], weights=[c[0].numpy()], strength=1.0).weights[0]
    assert found.max() < 0.9 and found.argmax() == wanted.argmax() and float(found.min()) > 1e-3


def test_pairs_up_to_the_full_number_count_whole() -> None:
    a, c = (torch.as_tensor(one)[None, :32] for one in heavy_and_light())
    start = torch.zeros(4, dtype=torch.float64)
    whole = adapt(start, a, c, MRMOptions(full_pairs=1e9))
    assert torch.equal(adapt(start, a, c, MRMOptions()), whole)


def test_a_pull_holds_users_at_the_average_however_strong() -> None:
    a, c = (torch.as_tensor(one)[None, :20] for one in heavy_and_light())
    start = torch.tensor([0.5, -0.5, 0.0, 0.0], dtype=torch.float64)
    far = [(adapt(start, a, c, MRMOptions(pull=pull)) - start).norm().item() for pull in (0.0, 1.0, 10.0, 1e6)]
    assert far == sorted(far, reverse=True) and far[3] < 1e-5


def test_dev_users_end_the_training_and_choose_a_pull_that_is_used(tmp_path: Path) -> None:
    taste = np.random.default_rng(2).normal(size=6)  # the same for all: what a user's few pairs say apart is noise
    population = plant(tmp_path, np.tile(taste, (14, 1)), 16, noise=2.0)
    quick = Optimization(n_steps=40, learning_rate=0.1, check_every=5, patience=2)
    dev = [DevUser(tuple(own[:8]), tuple(own[8:])) for own in population.pairs[8:]]
    model = MRM(population.store, MRMOptions(optimization=quick)).fit(population.flat(range(8)), dev=dev)
    assert len(model.curve.losses) < 40 and model.curve.dev
    assert model.learned is not None and model.learned.strength > 0
    pulled = model.condition(population.pairs[8]).weights
    model.learned = replace(model.learned, strength=0.0)
    assert np.abs(pulled - model.condition(population.pairs[8]).weights).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"tail": 0.0},
        {"gamma": 2.0},
        {"n_inner_steps": 0},
        {"inner_rate": -1.0},
        {"n_bases": 0},
        {"full_pairs": 0.5},
        {"pull": -1.0},
        {"pull": float("inf")},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        MRMOptions(**options)  # type: ignore[arg-type]
