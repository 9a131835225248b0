"""VPL over a language model: once through the model, learned, saved, resumed, told apart."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes.forked import exit_code, imported_by_forked
from tests.rewards.tiny import die_after, talk, tiny_model, tiny_model_of, tiny_vpl_options

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, CorruptFile, NotFitted, TrainingFailed
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.gathering import gather_pairs
from personalrm.rewards.heads.pair_table import make_pair_table
from personalrm.rewards.heads.vpl.contexts import ContextSampler, Draw
from personalrm.rewards.heads.vpl.model import VPLState, elbo
from personalrm.rewards.language.forests.pair_batches import TokenPair, plant, tokenize_pairs
from personalrm.rewards.language.lora import Holding, Lora
from personalrm.rewards.language.vpl_lm.model import LanguageVPL
from personalrm.rewards.language.vpl_lm.network import LanguageVPLNetwork, LanguageVPLOptions, open_vpl_network
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, target_margins
from personalrm.stylometry.encoder import StylometricEncoder
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # transformers and PEFT take seconds to import
imported_by_forked(__name__, "peft")
ASKED = tiny_pair("u9", 99).conversation
OFFERED = ("One.", "Two, and more of it.", "Three!", "Two, and less.")


def users_of(numbers: range, n_pairs: int = 8) -> list[list[PreferencePair]]:
    """Users with even numbers like long answers, those with odd ones short."""
    return [[tiny_pair(f"u{n}", 20 * n + k, likes_long=n % 2 == 0) for k in range(n_pairs)] for n in numbers]


PAIRS = [pair for own in users_of(range(4), 3) for pair in own]
CONTEXT = users_of(range(30, 31), 4)[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return EmbeddingStore(tmp_path_factory.mktemp("store"), StylometricEncoder())


@pytest.fixture(scope="module")
def model(store: EmbeddingStore) -> LanguageVPL:
    return LanguageVPL(tiny_model(), store, tiny_vpl_options()).fit(PAIRS)


def curve_of(store: EmbeddingStore, pairs: list[PreferencePair], **fields: Any) -> list[float]:
    fitted = LanguageVPL(tiny_model(), store, tiny_vpl_options(**fields)).fit(pairs)
    assert fitted.curve is not None
    return fitted.curve.losses


def held_out(users: list[list[PreferencePair]], n_context: int) -> list[DevUser]:
    return [DevUser(tuple(own[:n_context]), tuple(own[4:])) for own in users]


def share_won(model: RewardModel[Any], users: list[DevUser]) -> float:
    return float((0.5 * (1.0 + np.sign(target_margins(model, users)))).mean())


def test_two_opposite_tastes_are_told_apart_where_plain_bradley_terry_is_at_chance(store: EmbeddingStore) -> None:
    training = [pair for own in users_of(range(12)) for pair in own]
    options = tiny_vpl_options(epochs=4, pairs_a_step=8, check_every=12)
    model = LanguageVPL(tiny_model(), store, options).fit(training, dev=held_out(users_of(range(12, 16)), 4))
    others = users_of(range(16, 24))
    assert share_won(model, held_out(others, 4)) >= 0.9
    assert share_won(model, held_out(others, 0)) == 0.5
    assert share_won(tiny_model_of(epochs=2, pairs_a_step=8).fit(training), held_out(others, 4)) == 0.5
    assert model.training.active_share == model.active_share[-1] > 0


Drawn = tuple[LanguageVPLNetwork, ContextSampler, Draw, list[TokenPair]]


@pytest.fixture
def drawn(store: EmbeddingStore) -> Drawn:
    """Six targets of two conversations with eight contexts each, and the sampler that drew them."""
    options = tiny_vpl_options(n_contexts=8, swap_weight=0.1)
    table = make_pair_table(talk("u1", 0) + talk("u1", 1) + talk("u2", 2), store)
    network = open_vpl_network(tiny_model(), store.encoder.dim, options)
    contexts = ContextSampler(options, table, gather_pairs(table, store, "last"))
    chat = LanguageVPL(tiny_model(), store, options).fit(PAIRS[:1])._fitted().tokenizer
    tokens = tokenize_pairs(chat, [("", pair) for pair in table.pairs[:6]], sharing="conversation")
    return network, contexts, contexts.draw(torch.arange(6), torch.Generator().manual_seed(0)), tokens


def loss_and_gradients(given: Drawn, pairs: list[TokenPair], draw: Draw, *, is_shared: bool) -> tuple[float, Any, int]:
    network, contexts, _, _ = given
    network.zero_grad()
    planted = plant(pairs, is_shared=is_shared)
    margins, latents = network(planted, contexts.vectors(draw))
    loss = elbo(margins, latents, tiny_vpl_options(swap_weight=0.1), beta=0.01)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in network.trained()}
    return float(loss.detach()), gradients, len(planted.forest)


def test_a_target_decoded_eight_times_is_the_target_run_eight_times(drawn: Drawn) -> None:
    _, _, draw, pairs = drawn
    torch.manual_seed(0)
    for name, parameter in drawn[0].trained():  # LoRA starts at zero, where its gradient would be half missing
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    once = loss_and_gradients(drawn, pairs, draw, is_shared=True)
    copies = Draw(*(t.flatten(0, 1)[:, None] for t in (draw.places, draw.real, draw.noise)))
    eight = loss_and_gradients(drawn, [pair for pair in pairs for _ in range(8)], copies, is_shared=False)
    assert once[0] == pytest.approx(eight[0], abs=1e-5)
    for name, gradient in once[1].items():
        assert torch.allclose(gradient, eight[1][name], atol=1e-5), name
    assert eight[2] == 8 * sum(len(pair.chosen) + len(pair.rejected) for pair in pairs) > 16 * once[2] > 0


def test_more_contexts_cost_no_token_more(store: EmbeddingStore) -> None:
    counts = []
    for n_contexts in (1, 8):
        fitted = LanguageVPL(tiny_model(), store, tiny_vpl_options(n_contexts=n_contexts, sharing="none")).fit(PAIRS)
        counts.append(fitted.training.n_tokens_run)
    chat = fitted._fitted().tokenizer
    tokens = tokenize_pairs(chat, [("", pair) for pair in PAIRS], sharing="none")
    assert counts == [2 * sum(len(pair.chosen) + len(pair.rejected) for pair in tokens)] * 2  # two epochs


def test_sharing_changes_the_cost_and_not_the_curve(store: EmbeddingStore) -> None:
    pairs = talk("u1", 0) + talk("u1", 1) + talk("u2", 2)
    assert curve_of(store, pairs, sharing="pair") == pytest.approx(curve_of(store, pairs, sharing="none"), abs=1e-5)


def test_a_step_in_small_forests_is_the_same_step(store: EmbeddingStore) -> None:
    assert curve_of(store, PAIRS, tokens_at_once=10) == pytest.approx(curve_of(store, PAIRS), abs=1e-5)


def test_scores_of_many_are_scores_of_sequences_run_alone(model: LanguageVPL) -> None:
    states = model.condition_many([CONTEXT, [pair.reversed() for pair in CONTEXT], []])
    together = model.score_many([ScoreItem(state, ASKED, OFFERED) for state in states])
    alone = [[float(model.score(state, ASKED, [text])[0]) for text in OFFERED] for state in states]
    assert np.abs(np.array(together) - np.array(alone)).max() <= 1e-5


def test_a_question_of_several_users_runs_through_the_model_once(model: LanguageVPL) -> None:
    costs = []
    for n_users in (1, 5):
        before = model.n_tokens_run
        states = model.condition_many([CONTEXT[: n + 1] for n in range(n_users)])
        model.score_many([ScoreItem(state, ASKED, OFFERED) for state in states])
        costs.append(model.n_tokens_run - before)
    assert costs[0] == costs[1] > 0


def test_ranking_is_by_reward(model: LanguageVPL) -> None:
    state = model.condition(CONTEXT)
    order = model.rank(state, ASKED, OFFERED)
    assert sorted(order) == [0, 1, 2, 3] and np.all(np.diff(model.score(state, ASKED, OFFERED)[order]) <= 0)


def test_nobody_known_is_the_average_user(model: LanguageVPL) -> None:
    assert not model.condition([]).z.any()
    zero = VPLState(np.zeros(4, dtype=np.float32))
    assert model.score(model.condition([]), ASKED, OFFERED).tolist() == model.score(zero, ASKED, OFFERED).tolist()


def test_a_model_with_projection_is_saved_whole(store: EmbeddingStore, tmp_path: Path) -> None:
    fitted = LanguageVPL(tiny_model(), store, tiny_vpl_options(projection=True, epochs=1)).fit(PAIRS)
    fitted.save(tmp_path)
    loaded = LanguageVPL.load(tmp_path, store)
    found = [one.score(one.condition(CONTEXT), ASKED, OFFERED).tolist() for one in (fitted, loaded)]
    assert found[0] == found[1] and len(set(found[0])) == 4
    assert (loaded.options, loaded.training) == (fitted.options, fitted.training)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model.json", "model.safetensors"]


def test_the_published_head_starts_a_hundred_times_smaller(store: EmbeddingStore) -> None:
    network = open_vpl_network(tiny_model(), store.encoder.dim, tiny_vpl_options(projection=True))
    assert tuple(network.projection.weight.shape) == (32, 32)
    assert float(network.projection.weight.detach().std()) == pytest.approx(
        0.01 * 0.2, rel=0.1
    )  # the tiny model's range


def test_the_model_card_tells_counts_and_no_texts(model: LanguageVPL, tmp_path: Path) -> None:
    model.save(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "| pairs, users | 12, 4 |" in card and "LoRA rank 4" in card and "active units" in card
    assert "lake" not in card and "u1" not in card
    assert {line.count("|") for line in card.splitlines() if line.startswith("|")} == {3}


def test_the_adapter_of_another_base_model_is_refused(model: LanguageVPL, tmp_path: Path) -> None:
    model.save(tmp_path)
    with pytest.raises(BadInput, match="another base model"):
        LanguageVPL.load(tmp_path, model.store, base=tiny_model(1))


@pytest.mark.parametrize("damage", [("options", 3), ("options", {"widht": 3}), ("training", {"n": 1}), ("base", None)])
def test_a_damaged_folder_is_refused(model: LanguageVPL, tmp_path: Path, damage: tuple[str, Any]) -> None:
    import json

    model.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    name, value = damage
    facts = {**facts, name: value} if value is not None else {k: v for k, v in facts.items() if k != name}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    with pytest.raises(CorruptFile):
        LanguageVPL.load(tmp_path, model.store)


RESUMED: dict[str, Any] = {"epochs": 4, "checkpoint_every": 3, "check_every": 2, "lora": Lora(4, 8.0, dropout=0.1)}


def train_and_die(base: str, file: Path, folder: Path) -> None:
    die_after(7)
    store = EmbeddingStore(folder, StylometricEncoder())
    dev = held_out(users_of(range(4, 6), 6), 4)
    LanguageVPL(base, store, tiny_vpl_options(**RESUMED), checkpoint=file).fit(PAIRS, dev=dev)


def test_a_killed_training_goes_on_with_the_same_curve(store: EmbeddingStore, tmp_path: Path) -> None:
    file, options = tmp_path / "run.safetensors", tiny_vpl_options(**RESUMED)
    assert exit_code(train_and_die, tiny_model(), file, store.folder) == -signal.SIGKILL
    dev = held_out(users_of(range(4, 6), 6), 4)
    whole = LanguageVPL(tiny_model(), store, options).fit(PAIRS, dev=dev)
    resumed = LanguageVPL(tiny_model(), store, options, checkpoint=file).fit(PAIRS, dev=dev)
    assert resumed.curve == whole.curve
    scores = [one.score(one.condition(CONTEXT), ASKED, OFFERED).tolist() for one in (whole, resumed)]
    assert scores[0] == scores[1]


def test_the_checkpoint_of_other_data_or_settings_is_refused(store: EmbeddingStore, tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    LanguageVPL(tiny_model(), store, tiny_vpl_options(epochs=1), checkpoint=file).fit(PAIRS)
    for base, pairs, epochs in ((0, PAIRS[1:], 1), (0, PAIRS, 2), (1, PAIRS, 1)):
        with pytest.raises(BadInput, match="other data or settings"):
            LanguageVPL(tiny_model(base), store, tiny_vpl_options(epochs=epochs), checkpoint=file).fit(pairs)


def test_a_checkpoint_holds_what_is_trained_and_not_the_model(store: EmbeddingStore, tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    options = tiny_vpl_options(width=2, latent=2, lora=Lora(1, 1.0), epochs=1)
    LanguageVPL(tiny_model(), store, options, checkpoint=file).fit(PAIRS)
    assert file.stat().st_size < (Path(tiny_model()) / "model.safetensors").stat().st_size


def test_dev_users_stop_a_training_that_does_them_no_good(store: EmbeddingStore) -> None:
    contrary = [
        DevUser(one.context, tuple(pair.reversed() for pair in one.targets))
        for one in held_out(users_of(range(4, 8)), 4)
    ]
    options = tiny_vpl_options(epochs=20, check_every=2, patience=2)
    fitted = LanguageVPL(tiny_model(), store, options).fit(PAIRS, dev=contrary)
    assert fitted.training.n_steps < 60 and fitted.training.best_step < fitted.training.n_steps


def test_over_long_pairs_are_truncated_and_counted(store: EmbeddingStore) -> None:
    pairs = talk("u1", 0, n_turns=4)
    fitted = LanguageVPL(tiny_model(), store, tiny_vpl_options(max_tokens=150, epochs=1)).fit(pairs)
    assert (fitted.training.n_pairs, fitted.training.n_truncated, fitted.training.n_cut) == (8, 4, 0)


def test_numbers_that_are_none_stop_the_training_loudly(store: EmbeddingStore) -> None:
    with pytest.raises(TrainingFailed, match="not numbers"):
        LanguageVPL(tiny_model(), store, tiny_vpl_options(kl_weight=1e300, epochs=10)).fit(PAIRS)


def test_completions_that_are_cut_off_fail_loudly(store: EmbeddingStore) -> None:
    end = " the same end" * 9
    pairs = [replace(pair, chosen=pair.chosen + end, rejected=pair.rejected + end) for pair in PAIRS]
    with pytest.raises(BadInput, match="identical as the model reads them"):
        LanguageVPL(tiny_model(), store, tiny_vpl_options(max_tokens=12, epochs=4)).fit(pairs)


def test_a_user_with_one_conversation_trains_on_empty_contexts(store: EmbeddingStore) -> None:
    fitted = LanguageVPL(tiny_model(), store, tiny_vpl_options(empty_share=0.0)).fit(talk("u1", 0))
    assert fitted.curve is not None and np.isfinite(fitted.curve.losses).all()


def test_a_half_precision_model_trains_and_scores_in_fp32(store: EmbeddingStore) -> None:
    options = tiny_vpl_options(network=Holding("bfloat16"))
    fitted = LanguageVPL(tiny_model(), store, options).fit(PAIRS)
    assert np.isfinite(fitted.score(fitted.condition(CONTEXT), ASKED, OFFERED)).all()
    assert {parameter.dtype for _, parameter in fitted.network.trained()} == {torch.float32}


def test_it_refuses_to_judge_before_it_was_trained(store: EmbeddingStore) -> None:
    with pytest.raises(NotFitted):
        LanguageVPL(tiny_model(), store).score(VPLState(np.zeros(32, dtype=np.float32)), ASKED, OFFERED)


def test_a_path_without_a_model_is_refused(store: EmbeddingStore, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be loaded"):
        LanguageVPL(tmp_path, store, tiny_vpl_options()).fit(PAIRS)


def test_published_settings_are_one_word() -> None:
    options = LanguageVPLOptions.faithful()
    assert (options.lora.rank, options.lora.alpha, options.lora.targets) == (128, 256.0, ("q_proj", "v_proj"))
    assert (options.width, options.latent, options.learning_rate, options.projection) == (512, 512, 3e-4, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"sharing": "everything"}, {"epochs": 0}, {"pairs_a_step": 0}, {"tokens_at_once": 0}, {"learning_rate": -1.0},
        {"head_learning_rate": math.nan}, {"latent": 0}, {"n_contexts": 0}, {"kl_weight": math.inf}, {"check_every": 0},
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        LanguageVPLOptions(**fields)


def test_lora_that_drops_everything_is_refused() -> None:
    with pytest.raises(BadInput, match="dropout"):
        Lora(dropout=1.0)


def test_nothing_of_a_user_is_shown_by_repr(model: LanguageVPL) -> None:
    state = model.condition(CONTEXT)
    item = ScoreItem(state, (Message("user", "secret"),), ("secret",))
    assert "secret" not in repr(item) and "0." not in repr(state)
