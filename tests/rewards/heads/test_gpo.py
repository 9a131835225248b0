"""GPO: what attends to what, the paper's reading, and planted tastes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.reference.gpo import evaluate, loss, reference_from
from benchmarks.simulations.planted_encoder import PlantedEncoder
from tests.rewards.populations import QUESTION, accuracy, plant

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.messages import Message
from personalrm.rewards.heads.bases import LowRankOptions
from personalrm.rewards.heads.gpo.episodes import (
    Episode,
    EpisodeSizes,
    Pool,
    Style,
    episode_loss,
    pair_sequence,
    tokens_of,
)
from personalrm.rewards.heads.gpo.model import GPO, GPOOptions
from personalrm.rewards.heads.gpo.network import GPONetwork, GPOShape
from personalrm.rewards.heads.low_rank import LowRank
from personalrm.rewards.heads.pair_table import make_pair_table
from personalrm.rewards.reward_model import DevUser, margins
from personalrm.rewards.training import Optimization
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)
DIM, WIDTH = 12, 16
SHAPE = GPOShape(WIDTH, n_heads=4, n_layers=3, n_embedder_layers=3)
SMALL = GPOOptions(shape=SHAPE, optimization=Optimization(n_steps=20, learning_rate=1e-3))


@pytest.fixture
def network() -> GPONetwork:
    torch.manual_seed(0)
    return GPONetwork(DIM, SHAPE).eval()


def tokens(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, n, WIDTH, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, 0.0]])
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


@torch.inference_mode()
def test_the_order_of_the_context_says_nothing(network: GPONetwork) -> None:
    places = torch.tensor([2, 0, 3, 1])
    wanted = network(tokens(4), LABELS, MASK, tokens(3, 1))
    found = network(tokens(4)[:, places], LABELS[:, places], MASK[:, places], tokens(3, 1))
    assert (found - wanted).abs().max() < 1e-6


@torch.inference_mode()
def test_another_target_changes_no_target(network: GPONetwork) -> None:
    wanted = network(tokens(4), LABELS, MASK, tokens(3, 1))[:, :2]
    found = network(tokens(4), LABELS, MASK, tokens(3, 1)[:, :2])
    assert (found - wanted).abs().max() < 1e-6


@torch.inference_mode()
def test_padding_of_the_context_says_nothing(network: GPONetwork) -> None:
    wanted = network(tokens(4)[1:, :3], LABELS[1:, :3], MASK[1:, :3], tokens(3, 1)[1:])
    assert (network(tokens(4), LABELS, MASK, tokens(3, 1))[1:] - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("has_null", [True, False])
@pytest.mark.parametrize("n_columns", [0, 4])
def test_a_context_that_is_empty_is_finite(has_null: bool, n_columns: int) -> None:
    network = GPONetwork(DIM, replace(SHAPE, has_null=has_null))
    empty = torch.zeros(2, n_columns, dtype=torch.bool)
    found = network(tokens(n_columns), torch.zeros(2, n_columns), empty, tokens(3, 1))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_network_is_the_originals() -> None:
    torch.manual_seed(0)
    network = GPONetwork(DIM, replace(SHAPE, has_null=False)).eval()
    context, targets = torch.randn(4, DIM), torch.randn(3, DIM)
    (wanted,) = evaluate(reference_from(network).eval(), [context], [LABELS[0]], [targets])
    with torch.inference_mode():
        project = network.project
        found = network(project(context)[None], LABELS[:1], MASK[:1], project(targets)[None])[0]
    assert (found - wanted).abs().max() < 1e-5


def episode(n_users: int = 3, n_context: int = 4, n_targets: int = 2) -> Episode:
    generator = torch.Generator().manual_seed(0)
    second, target_second = (
        torch.randint(0, 2, (n_users, n), generator=generator).float() for n in (n_context, n_targets)
    )
    return Episode(
        torch.randn(n_users, n_context, DIM, generator=generator), second, torch.ones(n_users, n_context).bool(),
        torch.randn(n_users, n_targets, 2, DIM, generator=generator), torch.ones(n_users, n_targets), target_second,
        torch.ones(n_users, n_context),
    )  # fmt: skip


def test_the_faithful_loss_is_the_originals_loss_and_gradient() -> None:
    torch.manual_seed(0)
    network, one = GPONetwork(DIM, replace(SHAPE, has_null=False)), episode()
    reference = reference_from(network)
    shown = torch.where(one.target_second[..., None] > 0, one.targets[:, :, 1], one.targets[:, :, 0])
    wanted = loss(reference, torch.cat([one.context, shown], 1), torch.cat([one.second, one.target_second], 1), 4)
    found = episode_loss(network, one, Style("zero_pad", is_antisymmetric=False))
    found.backward()
    wanted.backward()
    assert float((found - wanted).detach().abs()) < 1e-6
    gradient = torch.cat([network.first.weight.grad, network.label.grad[:, None]], dim=1)
    assert (gradient - reference.embedder[0].weight.grad).abs().max() < 1e-6


@pytest.mark.parametrize("antisymmetric", [True, False])
@pytest.mark.parametrize("has_null", [True, False])
def test_the_loss_of_ragged_users_is_the_mean_of_each_alone(antisymmetric: bool, has_null: bool) -> None:
    network, one = GPONetwork(DIM, replace(SHAPE, has_null=has_null)), episode(4, 4, 3)
    style = Style("pm1", antisymmetric)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4, [False, True, True, False]])
    weight = torch.tensor([[1.0, 0.5, 0.5], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    ragged = replace(one, mask=mask, weight=weight)
    alone = []
    for row in range(3):
        m, w = mask[row], weight[row] > 0
        own = Episode(
            one.context[row : row + 1, m], one.second[row : row + 1, m], mask[row : row + 1, m],
            one.targets[row : row + 1, w], weight[row : row + 1, w], one.target_second[row : row + 1, w],
            one.context_weight[row : row + 1, m],
        )  # fmt: skip
        alone.append(episode_loss(network, own, style))
    assert (episode_loss(network, ragged, style) - torch.stack(alone).mean()).detach().abs() < 1e-6


def test_a_step_without_any_target_has_no_loss_and_no_gradient() -> None:
    network, one = GPONetwork(DIM, SHAPE), episode()
    loss = episode_loss(network, replace(one, weight=torch.zeros(3, 2)), Style("pm1", is_antisymmetric=True))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_target_bit_tells_the_papers_zero_from_unknown() -> None:
    """With it a context pair whose first is preferred and a target of the same tokens are read apart."""
    torch.manual_seed(0)
    plain, told = (GPONetwork(DIM, replace(SHAPE, has_target_bit=has)).eval() for has in (False, True))
    read: list[torch.Tensor] = []
    for network in (plain, told):
        network.rest[-1].register_forward_hook(lambda _, __, h: read.append(h))
        network(tokens(1), torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool), tokens(1))
    assert torch.equal(read[0][:2], read[0][2:]) and not torch.allclose(read[1][:2], read[1][2:])
    assert told.bit is not None and told.bit.abs().min() > 0


def test_concatenated_tokens_are_both_embeddings_in_either_order(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder(3, {"a": np.ones(3), "b": np.full(3, 2.0)}))
    found = tokens_of("concatenated", store, [(QUESTION, "a", "b")], "last", [""])
    assert found.tolist() == [[[1, 1, 1, 2, 2, 2], [2, 2, 2, 1, 1, 1]]]


def test_in_the_papers_labels_first_preferred_looks_like_unknown() -> None:
    coins = torch.tensor([0.0, 1.0])
    assert Style("zero_pad", False).written(coins).tolist() == [0.0, 1.0]
    assert Style("pm1", False).written(coins).tolist() == [1.0, -1.0]


def test_both_completions_stand_in_one_prompt_and_cannot_forge_its_borders() -> None:
    sequence = pair_sequence((Message("user", "Hi"),), "</first><second>mine</second>", "two")
    text = sequence.conversation[0].content
    assert text.count("<second>") == 1 and sequence.completion is None
    assert (
        pair_sequence((Message("user", "Hi"),), "a", "b").key != pair_sequence((Message("user", "Hi"),), "b", "a").key
    )


def draw(tmp_path: Path, sampling: EpisodeSizes, n_pairs: int = 6, **fields: object) -> Episode:
    store = EmbeddingStore(tmp_path, PlantedEncoder(DIM))
    table = make_pair_table([tiny_pair(f"u{u}", 9 * u + k, **fields) for u in range(8) for k in range(n_pairs)], store)
    x = torch.arange(float(len(table))).repeat(DIM, 1).T[:, None].numpy() + 1  # token = number of the pair
    return Pool.of(table, x, "cpu").draw(sampling, torch.Generator().manual_seed(0))


def test_a_pair_is_context_or_target_of_its_own_user(tmp_path: Path) -> None:
    one = draw(tmp_path, EpisodeSizes(8, max_context=4))
    for row in range(8):
        context = one.context[row, one.mask[row], 0].abs().tolist()
        targets = one.targets[row, one.weight[row] > 0, 0, 0].tolist()
        assert len(context) <= 4 and len({*context, *targets}) == len(context) + len(targets) == 6
        assert {int((number - 1) // 6) for number in context + targets} == {row}


def test_orders_are_balanced(tmp_path: Path) -> None:
    one = draw(tmp_path, EpisodeSizes(8), n_pairs=30)
    assert 0.35 < float(one.second[one.mask].mean()) < 0.65 and 0.35 < float(one.target_second.mean()) < 0.65


def test_a_conversation_is_never_context_and_target(tmp_path: Path) -> None:
    one = draw(tmp_path, EpisodeSizes(8, empty_share=0.0), conversation_id="the only one")
    assert not (one.weight * one.mask.any(dim=1, keepdim=True)).any()


def test_conversations_of_near_random_numbers_do_not_mix(tmp_path: Path) -> None:
    """Among twenty conversations two are often drawn within a thousandth of each other."""
    store = EmbeddingStore(tmp_path, PlantedEncoder(DIM))
    pairs = [tiny_pair(f"u{u}", 60 * u + k, conversation_id=f"c{k // 3}") for u in range(8) for k in range(60)]
    table = make_pair_table(pairs, store)
    x = np.repeat(np.arange(1.0, len(table) + 1)[:, None, None], DIM, axis=2)  # token = number of the pair
    pool, sampling = Pool.of(table, x, "cpu"), EpisodeSizes(8, max_context=59, empty_share=0.0)
    for seed in range(100):
        one = pool.draw(sampling, torch.Generator().manual_seed(seed))
        for row in range(8):
            seen = table.conversation[one.context[row, one.mask[row], 0].abs().long().numpy() - 1]
            asked = table.conversation[one.targets[row, one.weight[row] > 0, 0, 0].long().numpy() - 1]
            assert not set(seen.tolist()) & set(asked.tolist())


def test_fitting_leaves_everybody_elses_random_numbers_alone(tmp_path: Path) -> None:
    population = plant(tmp_path, np.random.default_rng(0).normal(size=(4, DIM)), 8)
    before = torch.get_rng_state()
    GPO(population.store, SMALL).fit(population.flat(range(4)))
    assert torch.equal(before, torch.get_rng_state())


def test_every_share_of_empty_contexts_is_kept(tmp_path: Path) -> None:
    assert draw(tmp_path / "all", EpisodeSizes(8, empty_share=1.0)).mask.sum() == 0
    assert draw(tmp_path / "none", EpisodeSizes(8, empty_share=0.0)).mask.any(dim=1).all()


@pytest.mark.parametrize("options", [SMALL, replace(GPOOptions.faithful(), shape=replace(SHAPE, has_null=False))])
def test_swapping_the_completions_flips_the_margin_exactly(tmp_path: Path, options: GPOOptions) -> None:
    population = plant(tmp_path, np.random.default_rng(0).normal(size=(4, DIM)), 8)
    model = GPO(population.store, replace(options, optimization=SMALL.optimization)).fit(population.flat(range(4)))
    states = model.condition_many([own[:5] for own in population.pairs])
    pairs = [own[place] for own in population.pairs for place in range(8)]
    asked = [state for state in states for _ in range(8)]
    there, back = margins(model, asked, pairs), margins(model, asked, [pair.reversed() for pair in pairs])
    assert there.tolist() == (-back).tolist() and np.unique(there).size == 32


def test_dev_users_end_the_training(tmp_path: Path) -> None:
    population = plant(tmp_path, np.random.default_rng(0).normal(size=(8, DIM)), 8)
    dev = [DevUser(tuple(own[:5]), tuple(own[5:])) for own in population.pairs[4:]]
    options = replace(SMALL, optimization=Optimization(n_steps=200, learning_rate=1e-2, check_every=5, patience=2))
    model = GPO(population.store, options).fit(population.flat(range(4)), dev=dev)
    assert len(model.curve.losses) < 200 and model.curve.best_step < len(model.curve.losses)


def test_a_fit_that_was_kept_is_not_run_again_and_checkpoints_change_nothing(tmp_path: Path) -> None:
    population = plant(tmp_path, np.random.default_rng(0).normal(size=(4, DIM)), 8)
    whole = GPO(population.store, SMALL).fit(population.flat(range(4)))
    kept = replace(SMALL, optimization=replace(SMALL.optimization, checkpoint_every=7))
    GPO(population.store, kept, checkpoint=tmp_path / "run").fit(population.flat(range(4)))
    again = GPO(population.store, kept, checkpoint=tmp_path / "run").fit(population.flat(range(4)))
    assert again.curve.losses == whole.curve.losses


@pytest.mark.parametrize("seed", range(2))
def test_two_opposite_types_are_told_apart(tmp_path: Path, seed: int) -> None:
    taste = np.random.default_rng(seed).normal(size=16)
    population = plant(tmp_path, np.outer(np.tile([1.0, -1.0], 130), taste), 20, seed=seed)
    options = GPOOptions(
        shape=GPOShape(32, n_heads=4, n_layers=2, n_embedder_layers=2), sampling=EpisodeSizes(max_context=12, max_targets=8),
        optimization=Optimization(n_steps=120, learning_rate=4e-3), seed=seed,
    )  # fmt: skip
    model = GPO(population.store, options).fit(population.flat(range(60)))
    general = LowRank(population.store, LowRankOptions(n_bases=1)).fit(population.flat(range(60)))
    assert accuracy(model, population, range(60, 260), 10) >= 0.9
    assert accuracy(general, population, range(60, 260), 10) == pytest.approx(0.5, abs=0.03)


def bayes_accuracy(dim: int, n_context: int, *, n_users: int = 100) -> float:
    """What the posterior mean of a normal taste gets right after choices without noise, by rejection sampling."""
    rng, right = np.random.default_rng(0), []
    samples = rng.normal(size=(50_000, dim)).astype(np.float32)
    for taste in rng.normal(size=(n_users, dim)).astype(np.float32):
        context, targets = rng.normal(size=(2, 10, dim)).astype(np.float32)[:, :n_context]
        agrees = ((samples @ context.T > 0) == (context @ taste > 0)).all(axis=1)
        if agrees.sum() < 20:
            continue  # too few samples to vote; about one user in a hundred
        votes = (samples[agrees] @ targets.T > 0).mean(axis=0) > 0.5
        right.append((votes == (targets @ taste > 0)).mean())
    return float(np.mean(right))


def test_a_linear_taste_is_read_from_ten_pairs_almost_as_well_as_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.82 to 0.83 of 0.88 over three seeds; eight dimensions, at 0.75 of 0.81, take four times the steps."""
    population = plant(tmp_path, np.random.default_rng(0).normal(size=(550, 4)), 20)
    options = GPOOptions(
        shape=GPOShape(32, n_heads=4, n_layers=2, n_embedder_layers=2), sampling=EpisodeSizes(max_context=12, max_targets=8),
        optimization=Optimization(n_steps=250, learning_rate=3e-3),
    )  # fmt: skip
    model = GPO(population.store, options).fit(population.flat(range(400)))
    found, best = accuracy(model, population, range(400, 550), 10), bayes_accuracy(4, 10)
    with capsys.disabled():
        sys.stdout.write(f" [linear taste, d = 4: {found:.3f}, Bayes-optimal {best:.3f}] ")
    assert 0.83 < best < 0.92 and found >= 0.9 * best


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be split"):
        GPOShape(width=10, n_heads=4)
