"""Bradley-Terry models: learned, saved, resumed, told of users, scored from kept beginnings."""

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
from tests.rewards.tiny import die_after, talk, tiny_model, tiny_model_of, tiny_options, training_pairs

from personalrm.errors import BadInput, CorruptFile, StoreError, TargetLeak, TrainingFailed
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.prepared_prompts import PreparedPrompt, PreparedPrompts
from personalrm.rewards.language.bradley_terry.adapter_soups import soup
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.network import BradleyTerryOptions, NetworkOptions
from personalrm.rewards.language.forests.closing_states import PrefixCache
from personalrm.rewards.language.lora import Lora
from personalrm.rewards.language.user_turns import RawHistory, SavedPrompts, UserTurn
from personalrm.rewards.reward_model import DevUser, ScoreItem, margins
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # transformers and PEFT take seconds to import
imported_by_forked(__name__, "peft")
PAIRS = training_pairs()
ASKED = tiny_pair("u9", 99).conversation
OFFERED = ("One.", "Two, and more of it.", "Three!", "Two, and less.")


@pytest.fixture(scope="module")
def model() -> BradleyTerry:
    return tiny_model_of(epochs=4).fit(PAIRS)


def test_it_learns_what_everybody_chooses(model: BradleyTerry) -> None:
    fresh = [tiny_pair("u50", 200 + n) for n in range(5)]
    assert margins(model, model.condition_many([[]] * 5), fresh).min() > 0


def test_the_first_step_starts_at_no_preference(model: BradleyTerry) -> None:
    assert model.curve is not None and model.curve.losses[0] == pytest.approx(math.log(2.0), abs=1e-7)


def test_sharing_changes_the_cost_and_not_the_curve() -> None:
    pairs = talk("u1", 0) + talk("u2", 1)
    curves = []
    for sharing in ("pair", "none"):
        fitted = tiny_model_of(sharing=sharing, epochs=2).fit(pairs)
        assert fitted.curve is not None
        curves.append(fitted.curve.losses)
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_a_step_in_small_forests_is_the_same_step() -> None:
    curves = []
    for tokens in (10, 100_000):
        fitted = tiny_model_of(tokens_at_once=tokens, epochs=2).fit(PAIRS)
        assert fitted.curve is not None
        curves.append(fitted.curve.losses)
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_the_head_is_trained_saved_and_restored(model: BradleyTerry, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = BradleyTerry.load(tmp_path)
    assert float(loaded.network.head.weight.detach().abs().max()) > 0
    rewards = [one.score(one.condition([]), ASKED, OFFERED).tolist() for one in (model, loaded)]
    assert rewards[0] == rewards[1] and len(set(rewards[0])) == 4


def test_an_adapter_without_its_head_is_refused(model: BradleyTerry, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    model.save(tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    del arrays["head.weight"]
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(CorruptFile, match="lacks numbers"):
        BradleyTerry.load(tmp_path)


def test_the_adapter_of_another_model_is_refused(model: BradleyTerry, tmp_path: Path) -> None:
    model.save(tmp_path)
    with pytest.raises(BadInput, match="another encoder"):
        BradleyTerry.load(tmp_path, base=tiny_model(1))


def test_a_model_told_of_users_is_not_loaded_without_its_turns(tmp_path: Path) -> None:
    BradleyTerry(tiny_model(), tiny_options(), turns=RawHistory(PAIRS)).fit(PAIRS[:4]).save(tmp_path)
    with pytest.raises(BadInput, match="user turn 'history'"):
        BradleyTerry.load(tmp_path)


def test_no_pickle_is_read_or_written(model: BradleyTerry, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "model.json", "model.safetensors"]


def test_the_model_card_tells_counts_and_no_texts(model: BradleyTerry, tmp_path: Path) -> None:
    model.save(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "| pairs, users | 12, 4 (0 told of) |" in card and "LoRA rank 4" in card and "lake" not in card


@pytest.mark.parametrize("damage", ["", "{", '{"options": 3}'])
def test_a_damaged_folder_is_refused(model: BradleyTerry, tmp_path: Path, damage: str) -> None:
    model.save(tmp_path)
    (tmp_path / "model.json").write_text(damage)
    with pytest.raises(CorruptFile):
        BradleyTerry.load(tmp_path)


def test_no_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        BradleyTerry.load(tmp_path / "none")


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be loaded"):
        BradleyTerry(tmp_path).fit(PAIRS)


def test_lora_targets_the_model_lacks_are_refused() -> None:
    with pytest.raises(BadInput, match="no layers named"):
        tiny_model_of(lora=Lora(4, 8.0, ("c_attn",))).fit(PAIRS)


def test_equal_rewards_are_a_tie_of_margin_zero() -> None:
    flat = BradleyTerry(tiny_model(), tiny_options()).fit(PAIRS[:1])
    with torch.no_grad():
        flat.network.head.weight.zero_()
    assert margins(flat, [UserTurn("")], PAIRS[:1]).tolist() == [0.0]


def test_over_long_pairs_are_truncated_and_counted() -> None:
    pairs = talk("u1", 0, n_turns=4)
    fitted = tiny_model_of(max_tokens=150).fit(pairs)
    assert (fitted.training.n_pairs, fitted.training.n_truncated, fitted.training.n_cut) == (8, 4, 0)


def test_completions_that_are_cut_off_fail_loudly() -> None:
    """Both completions are cut to the same last tokens, so nothing is left to learn from."""
    pairs = [
        replace(p, chosen=p.chosen + " the same end" * 9, rejected=p.rejected + " the same end" * 9) for p in PAIRS
    ]
    with pytest.raises(BadInput, match="identical as the model reads them"):
        tiny_model_of(max_tokens=12, epochs=2).fit(pairs)


def test_a_template_that_hides_the_completion_fails_loudly(tmp_path: Path) -> None:
    from personalrm.testing.tiny_models import save_tiny_model, tiny_tokenizer

    hiding = "{% for m in messages if m['role'] != 'assistant' %}{{ m['content'] }}<|eot_id|>{% endfor %}"
    path = save_tiny_model(tmp_path, tokenizer=tiny_tokenizer(template=hiding))
    with pytest.raises(BadInput, match="identical as the model reads them"):
        BradleyTerry(path, tiny_options(epochs=3)).fit(PAIRS)


def test_numbers_that_are_none_stop_the_training_loudly() -> None:
    with pytest.raises(TrainingFailed, match="not numbers"):
        tiny_model_of(centering=1e300, head_start="normal", epochs=10).fit(PAIRS)


def dev_users(*, are_contrary: bool) -> list[DevUser]:
    return [DevUser((), tuple(tiny_pair("d", 300 + n, likes_long=are_contrary) for n in range(3)))]


def test_dev_users_stop_a_training_that_does_them_no_good() -> None:
    fitted = tiny_model_of(epochs=20, check_every=1, patience=3).fit(PAIRS, dev=dev_users(are_contrary=True))
    assert fitted.training.best_step <= 2 and fitted.training.n_steps <= 6


def test_dev_users_choose_the_step_that_is_kept() -> None:
    fitted = tiny_model_of(epochs=3, check_every=1).fit(PAIRS, dev=dev_users(are_contrary=False))
    best = min(fitted.training.dev_losses, key=lambda look: look[1])
    assert fitted.training.best_step == best[0] > 2 and best[1] < math.log(2.0)


def train_and_die(base: str, file: Path) -> None:
    die_after(7)
    BradleyTerry(base, tiny_options(epochs=4, checkpoint_every=3), checkpoint=file).fit(PAIRS)


def test_a_killed_training_goes_on_with_the_same_curve(tmp_path: Path) -> None:
    file, options = tmp_path / "run.safetensors", tiny_options(epochs=4, checkpoint_every=3)
    assert exit_code(train_and_die, tiny_model(), file) == -signal.SIGKILL
    whole = BradleyTerry(tiny_model(), options).fit(PAIRS)
    resumed = BradleyTerry(tiny_model(), options, checkpoint=file).fit(PAIRS)
    assert resumed.curve == whole.curve
    scores = [one.score(one.condition([]), ASKED, OFFERED).tolist() for one in (whole, resumed)]
    assert scores[0] == scores[1]


def test_a_checkpoint_holds_what_is_trained_and_not_the_model(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    BradleyTerry(tiny_model(), tiny_options(), checkpoint=file).fit(PAIRS)
    assert file.stat().st_size < (Path(tiny_model()) / "model.safetensors").stat().st_size


def test_the_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    BradleyTerry(tiny_model(), tiny_options(), checkpoint=file).fit(PAIRS)
    with pytest.raises(BadInput, match="other data or settings"):
        BradleyTerry(tiny_model(), tiny_options(), checkpoint=file).fit(PAIRS[1:])


def test_the_checkpoint_of_another_base_model_is_refused(tmp_path: Path) -> None:
    """Its adapter fits in shape, and would be trained on under weights it was not made for."""
    file = tmp_path / "run.safetensors"
    BradleyTerry(tiny_model(), tiny_options(), checkpoint=file).fit(PAIRS)
    with pytest.raises(BadInput, match="other data or settings"):
        BradleyTerry(tiny_model(1), tiny_options(), checkpoint=file).fit(PAIRS)


def test_swapping_chosen_and_rejected_flips_the_margin_exactly(model: BradleyTerry) -> None:
    there = margins(model, [UserTurn("")] * len(PAIRS), PAIRS)
    back = margins(model, [UserTurn("")] * len(PAIRS), [pair.reversed() for pair in PAIRS])
    assert there.tolist() == (-back).tolist() and np.abs(there).min() > 0


def items(n_users: int = 3) -> list[ScoreItem]:
    states = [
        UserTurn(f"This one likes lakes, trains and the number {n}, and nothing else at all.") for n in range(n_users)
    ]
    return [ScoreItem(state, tiny_pair("u", 40 + n).conversation, OFFERED) for n in range(2) for state in states]


def test_kept_beginnings_give_the_scores_of_none(model: BradleyTerry) -> None:
    found = []
    for most in (0, 65_536):
        model._fitted().reader.cache = PrefixCache(most)
        found.append(np.concatenate([*model.score_many(items()), *model.score_many(items())]))
    assert np.abs(found[0] - found[1]).max() <= 1e-5


def test_a_question_costs_its_own_tokens_once_the_user_is_known(model: BradleyTerry) -> None:
    item = items()[0]
    model._fitted().reader.cache = PrefixCache()
    scorer, chat = model._fitted().reader, model._fitted().tokenizer
    prefix = len(chat.user_prefix(item.state.system))
    costs = []
    for _ in range(2):
        before = model.n_tokens_run
        model.score_many([item])
        costs.append(model.n_tokens_run - before)
    assert costs[0] - costs[1] == prefix and (scorer.cache.n_hits, scorer.cache.n_misses) == (1, 1)


def test_the_cache_is_bounded_and_drops_the_least_recently_used() -> None:
    cache = PrefixCache(10)
    for tokens in ((1,) * 4, (2,) * 4):
        cache.keep(tokens, ())
    cache.find((1,) * 4)
    cache.keep((3,) * 5, ())
    assert (cache.n_tokens, cache.find((2,) * 4), cache.find((1,) * 4)) == (9, None, ())
    cache.keep((5,) * 11, ())
    assert len(cache) == 2


def test_scores_do_not_depend_on_company(model: BradleyTerry) -> None:
    together = model.score_many(items())
    alone = [model.score_many([item])[0] for item in items()]
    assert np.abs(np.concatenate(together) - np.concatenate(alone)).max() <= 1e-5


def test_ranking_is_by_reward(model: BradleyTerry) -> None:
    rewards = model.score(UserTurn(""), ASKED, OFFERED)
    order = model.rank(UserTurn(""), ASKED, OFFERED)
    assert sorted(order) == [0, 1, 2, 3] and np.all(np.diff(rewards[order]) <= 0)


def prompt_of(user_id: str, pairs: list[Any], text: str) -> PersonalPrompt:
    shown = (Demonstration(OrderedPair(pairs[0], True)),)
    roles = {pair.hash: "train" for pair in pairs}
    return PersonalPrompt(user_id, Persona((Claim(text),)), demonstrations=shown, roles=roles)


def test_a_persona_goes_into_the_system_turn_of_its_user() -> None:
    context = PAIRS[:3]
    prompts = PreparedPrompts.of([PreparedPrompt(prompt_of("u0", context, "Loves brevity."))])
    turns = SavedPrompts(prompts)
    assert "Loves brevity." in turns.of_context(context) and "lake" not in turns.of_context(context)
    assert "lake" in SavedPrompts(prompts, "persona_demonstrations").of_context(context)
    assert turns.of_context([]) == turns.of_context(PAIRS[3:6]) == ""


def test_a_persona_made_from_pairs_outside_the_context_is_refused() -> None:
    turns = SavedPrompts(PreparedPrompts.of([PreparedPrompt(prompt_of("u0", PAIRS[:3], "Loves brevity."))]))
    with pytest.raises(TargetLeak, match="1 pairs outside"):
        turns.of_context(PAIRS[:2])


def test_training_uses_the_persona_made_without_the_pair() -> None:
    context = PAIRS[:3]
    held_out = PreparedPrompt(prompt_of("u0", context[1:], "Cross-fitted."), context[0].conversation_key)
    turns = SavedPrompts(PreparedPrompts.of([PreparedPrompt(prompt_of("u0", context, "Whole.")), held_out]))
    assert "Cross-fitted." in turns.of_training(context[0]) and "Whole." in turns.of_training(context[1])


def test_a_demonstration_is_never_the_pair_that_is_trained_on() -> None:
    prompts = PreparedPrompts.of([PreparedPrompt(prompt_of("u0", PAIRS[:3], "Whole."))])
    turns = SavedPrompts(prompts, "persona_demonstrations")
    assert PAIRS[0].chosen not in turns.of_training(PAIRS[0]) and PAIRS[0].chosen in turns.of_training(PAIRS[1])


def test_a_history_never_shows_the_pairs_own_conversation() -> None:
    pairs = talk("u1", 0) + talk("u1", 1) + talk("u2", 2)
    turns = RawHistory(pairs, k=10)
    assert all(pair.chosen not in turns.of_training(pair) for pair in pairs)
    assert "answer to 1.0" in turns.of_training(pairs[0]) and "2.0" not in turns.of_training(pairs[0])


def test_a_history_shows_k_pairs_in_one_order() -> None:
    turns = RawHistory(k=2)
    assert turns.of_context(PAIRS[:6]).count("They preferred:") == 2
    assert turns.of_context(PAIRS[:6]) == turns.of_context(PAIRS[5::-1]) and turns.of_context([]) == ""


def test_a_told_model_learns_two_opposite_tastes() -> None:
    """The persona alone tells the users apart, so plain Bradley-Terry stays at chance."""
    words = {True: "Wants it long.", False: "Wants it short."}
    pairs = [tiny_pair(f"u{n}", 10 * n + k, likes_long=n % 2 == 0) for n in range(8) for k in range(4)]
    own = {f"u{n}": [p for p in pairs if p.user_id == f"u{n}"] for n in range(8)}
    prompts = [PreparedPrompt(prompt_of(f"u{n}", own[f"u{n}"], words[n % 2 == 0])) for n in range(8)]
    options = tiny_options(lora=Lora(16, 32.0, ("q_proj", "k_proj", "v_proj", "o_proj")), epochs=6, pairs_a_step=8)
    told = BradleyTerry(tiny_model(), options, turns=SavedPrompts(PreparedPrompts.of(prompts))).fit(pairs)
    found = margins(told, [told.condition(own[pair.user_id]) for pair in pairs], pairs)
    assert (found > 0).mean() >= 0.9


@pytest.mark.parametrize(
    "fields",
    [
        {"sharing": "everything"}, {"epochs": 0}, {"pairs_a_step": 0}, {"centering": math.nan}, {"learning_rate": -1.0},
        {"tokens_at_once": 0}, {"check_every": 0},
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        BradleyTerryOptions(**fields)


@pytest.mark.parametrize("fields", [{"precision": "float8"}, {"head_start": "ones"}])
def test_network_options_that_mean_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        NetworkOptions(**fields)


def test_nothing_of_a_user_is_shown_by_repr() -> None:
    state = UserTurn("Loves brevity.")
    item = ScoreItem(state, (Message("user", "secret"),), ("secret",))
    assert "brevity" not in repr(state) and "secret" not in repr(item)


def test_a_soup_of_one_scores_as_it_does(model: BradleyTerry) -> None:
    other = tiny_model_of(seed=1).fit(PAIRS)
    mixed = model.with_adapter(soup([model.adapter(), other.adapter()], (1.0, 0.0)))
    assert mixed.score(UserTurn(""), ASKED, OFFERED).tolist() == model.score(UserTurn(""), ASKED, OFFERED).tolist()


def test_a_soup_runs_saves_and_leaves_its_parts_alone(model: BradleyTerry, tmp_path: Path) -> None:
    other, before = tiny_model_of(seed=1, epochs=2).fit(PAIRS), model.score(UserTurn(""), ASKED, OFFERED)
    mixed = model.with_adapter(soup([model.adapter(), other.adapter()], (0.3, 0.7)))
    mixed.save(tmp_path)
    found = mixed.score(UserTurn(""), ASKED, OFFERED)
    assert BradleyTerry.load(tmp_path).score(UserTurn(""), ASKED, OFFERED).tolist() == found.tolist()
    assert model.score(UserTurn(""), ASKED, OFFERED).tolist() == before.tolist() != found.tolist()
    assert mixed.options.lora == Lora(8, 8.0)
