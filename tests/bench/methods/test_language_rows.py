"""Rows on base models with a toy in place of a language model: trained once, read back, told what they may know."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.outcomes import outcome_of

from personalrm.bench.methods.method import Knowledge, judge_targets
from personalrm.bench.methods.trained import RewardRow, RunPrompts, Shelf
from personalrm.datasets.targets import hold_out
from personalrm.errors import NotFitted
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.prepared_prompts import PreparedPrompts
from personalrm.preferences.users import User
from personalrm.rewards.methods import Recipe, reward_method
from personalrm.testing import tiny_pair, tiny_users

HELD = hold_out(tiny_users(6, 8))
USERS = list(HELD.context.values())


class Toy:
    """Reward = characters times the taste its context shows; saved as the number of its fits."""

    def __init__(self, log):
        self.log = log

    def fit(self, pairs, *, dev=()):
        self.log.fits.append((tuple(pairs), tuple(dev)))
        return self

    def save(self, folder):
        folder.mkdir(parents=True)
        (folder / "toy").write_text("saved")

    def condition_many(self, contexts):
        return [np.sign(sum(len(p.chosen) - len(p.rejected) for p in context)) for context in contexts]

    def score_many(self, items):
        return [np.array([item.state * len(text) for text in item.completions], dtype=float) for item in items]


@dataclass
class ToyMethod:
    needs_prompts: bool = False
    made_of: tuple = ("base",)
    name: str = "toy"
    usual_pool: str = "unfiltered"
    trains_language_model: bool = True
    uses_dev: bool = True
    fits: list = field(default_factory=list)
    loads: list = field(default_factory=list)
    n_released: int = 0

    def make(self, options, *, store, **materials):
        assert store == ("a store" if "store" in self.made_of else None)
        return Toy(self)

    def release(self):
        self.n_released += 1

    def load(self, folder, **materials):
        self.loads.append(Path(folder).name)
        assert (folder / "toy").read_text() == "saved"
        return Toy(self)


def row_of(method, folder, prompts=None):
    shelf = Shelf(
        lambda name, fold: folder / f"{name}.f{fold}",
        lambda held_out: RunPrompts(prompts or PreparedPrompts(), "written by m"),
    )
    return RewardRow(Recipe(method, store=lambda: "a store", base="base"), shelf=shelf)


def judged(row, users=USERS):
    return outcome_of(judge_targets(row, row.know(users), HELD.targets)).margins


def test_a_model_a_fold_is_trained_once_and_read_back_by_a_run_that_goes_on(tmp_path):
    method = ToyMethod()
    row = row_of(method, tmp_path)
    row.learn(HELD, {})
    margins = judged(row)
    assert (margins > 0).all()
    n_fits = len(method.fits)
    assert n_fits == len(set(method.loads)) > 1
    assert method.n_released == 2 * n_fits - 1  # one is in memory at a time, trained or read back
    again = row_of(method, tmp_path)
    again.learn(HELD, {})
    assert len(method.fits) == n_fits
    assert (judged(again) == margins).all()


def test_a_training_whose_record_is_missing_is_made_again(tmp_path):
    method = ToyMethod()
    row_of(method, tmp_path).learn(HELD, {})
    n_fits = len(method.fits)
    record = next(iter(sorted(tmp_path.glob("*/training.json"))))
    record.unlink()
    (record.parent / "toy").unlink()
    record.parent.rmdir()
    row_of(method, tmp_path).learn(HELD, {})
    assert len(method.fits) == n_fits + 1


def test_with_dev_users_one_model_is_trained_and_stays_open(tmp_path):
    dev = {name: User(name, tuple(tiny_pair(name, k) for k in range(8))) for name in ("d0", "d1")}
    method, held_out = ToyMethod(), replace(HELD, dev=dev)
    row = row_of(method, tmp_path)
    row.learn(held_out, {})
    judged(row)
    judged(row)
    assert (len(method.fits), len(method.loads)) == (1, 1)
    record = json.loads((tmp_path / "toy.f0" / "training.json").read_text())
    assert (record["is_cross_fitted"], record["n_dev_users"], record["n_dev_targets"]) == (False, 2, 4)


def prompt_of(user, without=None):
    seen = [pair for pair in user.pairs if pair.conversation_key != without]
    claims = Persona((Claim("Prefers shorter answers."),))
    return PersonalPrompt(user.user_id, claims, roles={pair.hash: "train" for pair in seen})


def test_users_without_a_prompt_are_judged_knowing_nothing_and_listed(tmp_path):
    row = row_of(ToyMethod(needs_prompts=True), tmp_path, PreparedPrompts({"u0": prompt_of(USERS[0])}))
    row.learn(HELD, {})
    notes = {one.user_id: one.note for one in row.know(USERS)}
    assert notes["u0"] == ""
    assert set(notes.values()) == {"", "no prompt, judged knowing nothing"}


def test_a_user_stops_a_training_only_by_pairs_their_prompt_has_not_seen(tmp_path):
    """Without prompts made apart there is nothing to look at, so nobody stops it."""
    whole = PreparedPrompts({user.user_id: prompt_of(user) for user in USERS})
    method = ToyMethod(needs_prompts=True)
    row_of(method, tmp_path / "whole", whole).learn(HELD, {})
    assert not any(dev for _, dev in method.fits)
    keys = {(user.user_id, pair.conversation_key) for user in USERS for pair in user.pairs}
    apart = replace(whole, cross_fitted={key: prompt_of(HELD.context[key[0]], key[1]) for key in keys})
    method = ToyMethod(needs_prompts=True)
    row_of(method, tmp_path / "apart", apart).learn(HELD, {})
    looks = [one for _, dev in method.fits for one in dev]
    assert looks
    for one in looks:
        prompt = apart.for_context(one.targets[0].user_id, one.context)
        assert not prompt.context_hashes & {pair.hash for pair in one.targets}


def test_a_method_that_reads_embeddings_is_given_their_store(tmp_path):
    row = row_of(ToyMethod(made_of=("store", "base")), tmp_path)
    row.learn(HELD, {})
    assert (judged(row) > 0).all()


def test_it_must_learn_first(tmp_path):
    with pytest.raises(NotFitted, match="was not trained"):
        row_of(ToyMethod(), tmp_path).judge([(Knowledge("u0", ()), HELD.targets[0])])


@pytest.mark.slow  # imports torch
def test_a_history_is_as_long_as_its_setting_says_and_precision_is_the_base_models():
    method, content = reward_method("bradley_terry_history"), {"k": 7, "learning_rate": 1e-5}
    options = method.options(content, precision="bfloat16", seed=3, where="it")
    found = (method.n_shown(content, "it"), options.seed, options.network.precision)
    assert found == (7, 3, "bfloat16")


SMALL = {"lora": {"rank": 2}, "epochs": 1, "max_tokens": 256}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"), [("vpl_lm", SMALL), ("bradley_terry_soup", {"n_clusters": 2, "adapters": SMALL})]
)
def test_methods_that_read_choices_are_trained_saved_and_read_back(tmp_path, name, content):
    from benchmarks.simulations.planted_encoder import PlantedEncoder
    from tests.rewards.tiny import tiny_model

    from personalrm.embedding.store import EmbeddingStore

    method = reward_method(name)
    options = method.options(content, precision="float32", seed=3, where="it")
    assert (method.training(options).seed, method.training(options).lora.rank) == (3, 2)
    store = EmbeddingStore(tmp_path / "e", PlantedEncoder())
    recipe = Recipe(method, options, lambda: store, str(tiny_model()), "cpu")

    def row():
        shelf = Shelf(lambda row, fold: tmp_path / f"{row}.f{fold}", lambda _: RunPrompts(PreparedPrompts(), ""))
        return RewardRow(recipe, shelf=shelf)

    dev = {name: User(name, tuple(tiny_pair(name, k) for k in range(8))) for name in ("d0", "d1")}
    held_out = replace(HELD, dev=dev)
    first, again = row(), row()
    first.learn(held_out, {})
    margins = judged(first)
    again.learn(held_out, {})
    assert np.isfinite(margins).all() and (judged(again) == margins).all()
    assert not list(tmp_path.glob("*/checkpoint*"))
