"""VPL against loops, closed forms and planted tastes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.simulations.planted_encoder import PlantedEncoder
from tests.rewards.populations import Population, accuracy, plant

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, NotFitted
from personalrm.rewards.controls import active_units
from personalrm.rewards.heads.bases import LowRankOptions
from personalrm.rewards.heads.gathering import PairVectors, alike, gather_contexts, gather_pairs
from personalrm.rewards.heads.low_rank import LowRank
from personalrm.rewards.heads.pair_table import PairTable, make_pair_table
from personalrm.rewards.heads.vpl.contexts import ContextSampler, encode
from personalrm.rewards.heads.vpl.model import VPL, VPLLoss, VPLOptions
from personalrm.rewards.heads.vpl.network import SetEncoder, kl_divergence, make_vpl_module, to_norm
from personalrm.rewards.reward_model import DevUser
from personalrm.rewards.training import Optimization
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)

SMALL = VPLOptions(width=16, latent=4, batch_size=8, optimization=Optimization(n_steps=5))


def vectors(n_users: int = 3, most: int = 5, latent: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.arange(most)[None, :] < torch.tensor([5, 2, 1])[:n_users, None]
    return torch.randn(n_users, most, latent, generator=generator), real


def test_the_masked_set_encoder_equals_a_loop_over_users() -> None:
    encoder = SetEncoder(4, "hard")
    x, real = vectors()
    mean, log_variance = encoder(x, real)
    for place in range(3):
        own = x[place, real[place]][None]
        alone = encoder(own, torch.ones(1, own.shape[1], dtype=torch.bool))
        assert torch.allclose(mean[place], alone[0][0], atol=1e-6)
        assert torch.allclose(log_variance[place], alone[1][0], atol=1e-6)


def test_the_order_of_context_pairs_does_not_matter() -> None:
    encoder = SetEncoder(4, "hard")
    x, _ = vectors(1)
    real = torch.ones(1, 5, dtype=torch.bool)
    assert torch.allclose(encoder(x, real)[0], encoder(x[:, [3, 1, 4, 0, 2]], real)[0], atol=1e-6)


def test_no_context_is_the_prior() -> None:
    mean, log_variance = SetEncoder(4, "hard")(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert not mean.any() and not log_variance.any()


def test_kl_agrees_with_sampling() -> None:
    mean, log_variance = torch.tensor([[0.5, -0.8, 0.1]]), torch.tensor([[-0.7, 0.3, 0.9]])
    noise = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(0))
    z = mean + (0.5 * log_variance).exp() * noise
    log_q = -0.5 * (((z - mean) ** 2) / log_variance.exp() + log_variance).sum(dim=1)
    log_p = -0.5 * (z**2).sum(dim=1)
    assert float(kl_divergence(mean, log_variance)) == pytest.approx(float((log_q - log_p).mean()), abs=0.01)


def test_a_zero_z_keeps_its_norm() -> None:
    z = to_norm(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    assert z[0].tolist() == [0.0, 0.0] and float(z[1].norm()) == pytest.approx(2**0.5)


def planted_table(tmp_path: Path) -> tuple[PairTable, PairVectors]:
    population = plant(tmp_path, np.ones((4, 4)) * [[1], [-1], [1], [-1]], 6)
    table = make_pair_table(population.flat(range(4)), population.store)
    return table, gather_pairs(table, population.store, "last")


def test_a_target_meets_eight_contexts_as_if_it_were_there_eight_times(tmp_path: Path) -> None:
    module, (_, vectors) = make_vpl_module(4, SMALL), planted_table(tmp_path)
    h, _, _ = vectors.take(torch.arange(5))
    z = torch.randn(5, 8, 4, generator=torch.Generator().manual_seed(0))
    once = module.reward(h[:, None, :], z)
    copied = module.reward(h.repeat_interleave(8, dim=0), z.flatten(0, 1)).view(5, 8)
    assert torch.allclose(once, copied, atol=1e-6)


def test_the_loss_of_eight_contexts_is_that_of_a_target_copied_eight_times(tmp_path: Path) -> None:
    """Section 3.9: value and gradient, step by step from the same draws."""
    options = replace(SMALL, n_contexts=8, kl_weight=0.1)
    module, (table, vectors) = make_vpl_module(4, options), planted_table(tmp_path)
    draws = torch.Generator().manual_seed(3)
    once = VPLLoss(module, options, table, vectors)(4, torch.Generator().manual_seed(3))
    targets = torch.randperm(len(table), generator=draws)[:8]
    sampler = ContextSampler(options, table, vectors)
    places, real = (one.flatten(0, 1) for one in sampler.places(targets, draws))
    context_chosen, context_rejected, _ = vectors.take(places)
    mean, log_variance = module.posterior(context_chosen, context_rejected, real)
    noise = torch.randn(mean.shape, generator=draws)
    z = to_norm(mean + (0.5 * log_variance).exp() * noise) * real.any(dim=1, keepdim=True)
    chosen, rejected, _ = vectors.take(targets.repeat_interleave(8))
    fit = torch.nn.functional.softplus(module.reward(rejected, z) - module.reward(chosen, z)).mean()
    copied = fit + 0.1 * kl_divergence(mean, log_variance).mean()
    found, wanted = (torch.autograd.grad(one, list(module.parameters())) for one in (once, copied))
    assert float(once.detach()) == pytest.approx(float(copied.detach()), abs=1e-6)
    assert max(float((one - other).abs().max()) for one, other in zip(found, wanted, strict=True)) < 1e-6


def test_a_choice_weighs_the_same_however_many_it_was_made_from(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder(4))
    pairs = [replace(tiny_pair("u", n // 3), rejected=f"Other {n}.") for n in range(9)] + [tiny_pair("u", 7)]
    table = make_pair_table(pairs, store)
    module, vectors = make_vpl_module(4, SMALL), gather_pairs(table, store, "last")
    whole = replace(SMALL, batch_size=10, empty_share=1.0, weigh_choices=False)  # no context, so z is 0 for all
    weighed, plain = (
        VPLLoss(module, options, table, vectors)(0, torch.Generator()).item()
        for options in (replace(whole, weigh_choices=True), whole)
    )
    chosen, rejected, _ = vectors.take(torch.arange(10))
    losses = torch.nn.functional.softplus(
        module.reward(rejected, torch.zeros(10, 4)) - module.reward(chosen, torch.zeros(10, 4))
    )
    by_choice = (losses * torch.tensor([1 / 3] * 9 + [1.0])).sum() / 4
    assert (weighed, plain) == pytest.approx((by_choice.item(), losses.mean().item()), abs=1e-6)


def test_a_long_context_pads_nobody_elses() -> None:
    counts = [10, 10_000, 3, 0, 12]
    assert alike(counts) == [[3, 2, 0, 4], [1]]
    assert alike([200] * 100 + [10_000], 4096)[:2] == [list(range(20)), list(range(20, 40))]


def test_contexts_are_held_once_and_padded_to_their_like_alone(tmp_path: Path) -> None:
    """378 users, one of them with 10,000 pairs, would be 62 GB padded to one array of width 4,096."""
    store = EmbeddingStore(tmp_path, PlantedEncoder(64))
    heavy = [replace(tiny_pair("u"), pair_id=f"p{n}", order_index=n) for n in range(700)]
    light = [[tiny_pair(f"u{user}", user)] for user in range(40)]
    found = gather_contexts([*light, heavy, []], store, "last")
    shapes = [tuple(batch.chosen.shape) for batch in found.batches()]
    assert shapes == [(41, 1, 64), (1, 700, 64)] and len(found.vectors.held) == 2 * 40
    assert sum(float(batch.weight.sum()) for batch in found.batches()) == pytest.approx(found.table.weight.sum())


def test_contexts_never_hold_the_conversation_of_their_target(tmp_path: Path) -> None:
    table, vectors = planted_table(tmp_path)
    sampler = ContextSampler(replace(SMALL, n_contexts=50, empty_share=0.0), table, vectors)
    places, real = sampler.places(torch.arange(len(table)), torch.Generator().manual_seed(0))
    conversation, user = torch.from_numpy(table.conversation), torch.from_numpy(table.user)
    assert not (conversation[places] == conversation[:, None, None])[real].any()
    assert (user[places] == user[:, None, None])[real].all()
    assert real.any(dim=-1).all()


def test_contexts_have_from_none_to_eight_pairs_as_often_as_said(tmp_path: Path) -> None:
    population = plant(tmp_path, np.ones((1, 4)), 12)
    table = make_pair_table(population.pairs[0], population.store)
    options = replace(SMALL, n_contexts=2000, empty_share=0.1)
    sampler = ContextSampler(options, table, gather_pairs(table, population.store, "last"))
    _, real = sampler.places(torch.tensor([0]), torch.Generator().manual_seed(0))
    shares = torch.bincount(real.sum(dim=-1).flatten(), minlength=9) / 2000
    assert shares.tolist() == pytest.approx([0.1, *[0.9 / 8] * 8], abs=0.02)


def test_the_weight_of_kl_rises_with_optimiser_steps_alone() -> None:
    options = replace(SMALL, kl_weight=1.0, kl_warmup_share=0.5)
    assert [round(options.kl_share(step, 10), 2) for step in (0, 1, 4, 9)] == [0.2, 0.4, 1.0, 1.0]
    cosine = replace(options, kl_warmup="cosine")
    assert [round(cosine.kl_share(step, 8), 3) for step in (0, 1, 2, 3, 7)] == [0.146, 0.5, 0.854, 1.0, 1.0]


def test_the_swapped_context_costs_only_where_it_is_asked_for(tmp_path: Path) -> None:
    table, vectors = planted_table(tmp_path)
    module, sampler = make_vpl_module(4, SMALL), ContextSampler(SMALL, table, vectors)
    drawn = sampler.vectors(sampler.draw(torch.arange(4), torch.Generator().manual_seed(0)))
    plain, swapped = (encode(module, drawn, is_swapped=wanted) for wanted in (False, True))
    mean, log_variance = module.users(module.pairs(drawn.chosen, drawn.rejected)[drawn.where[0]], drawn.real[0])
    mean_s, log_variance_s = module.users(module.pairs(drawn.rejected, drawn.chosen)[drawn.where[0]], drawn.real[0])
    by_hand = ((mean_s + mean) ** 2 + (log_variance_s - log_variance) ** 2).sum(dim=1)
    assert not plain.apart.any() and torch.allclose(swapped.apart[0], by_hand, atol=1e-6)
    assert torch.equal(plain.z, swapped.z)


def two_types(folder: Path, seed: int) -> Population:
    w = np.random.default_rng(100 + seed).normal(size=16)
    return plant(folder, w * np.where(np.arange(120) % 2, -1.0, 1.0)[:, None], 25, seed=seed)


@pytest.mark.parametrize("seed", range(2))
def test_two_opposite_types_are_told_apart_by_ten_choices(tmp_path: Path, seed: int) -> None:
    population = two_types(tmp_path, seed)
    dev = [DevUser(tuple(own[:10]), tuple(own[10:])) for own in population.pairs[60:80]]
    # 150 larger steps get as many right as the default's 600: 0.973 to 0.980 over seeds 0 to 2.
    quick = replace(VPLOptions().optimization, n_steps=150, learning_rate=3e-3)
    model = VPL(population.store, VPLOptions(seed=seed, optimization=quick)).fit(population.flat(range(60)), dev=dev)
    assert accuracy(model, population, range(80, 120), 10) >= 0.90
    states = model.condition_many([own[:10] for own in population.pairs[80:]])
    assert active_units(np.stack([state.z for state in states])) > 0.0
    head = LowRank(population.store, LowRankOptions(n_bases=1)).fit(population.flat(range(60)))
    assert 0.45 <= accuracy(head, population, range(80, 120), 10) <= 0.55  # Bradley-Terry, one reward for all


def test_it_refuses_to_judge_before_it_was_trained(tmp_path: Path) -> None:
    with pytest.raises(NotFitted):
        VPL(EmbeddingStore(tmp_path, PlantedEncoder())).condition([])


@pytest.mark.parametrize(
    "bad", [{"width": 0}, {"kl_weight": -1.0}, {"empty_share": 2.0}, {"swap_weight": float("nan")}]
)
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(bad))):
        VPLOptions(**bad)  # type: ignore[arg-type]
