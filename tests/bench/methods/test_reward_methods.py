"""A reward model behind the adapter, told by a toy model that remembers the length each user likes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from tests.fakes.outcomes import outcome_of

from personalrm.bench.methods.method import Knowledge, judge_targets
from personalrm.bench.methods.trained import N_FOLDS, PoolSettings, RewardRow, fold_of
from personalrm.bench.plan.spec import RunSpec, pool_of
from personalrm.datasets.targets import HeldOut, hold_out
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.users import User
from personalrm.rewards.methods import Recipe
from personalrm.testing import tiny_pair, tiny_users
from personalrm.typed_values import spec_from

HELD = hold_out(tiny_users(6, 8))
USERS = list(HELD.context.values())


class Lengths:
    """Reward = characters times +1 or -1, whichever the user's context says."""

    name = "lengths"

    def fit(self, pairs, *, dev=()):
        self.pairs, self.dev = tuple(pairs), tuple(dev)
        return self

    def condition_many(self, contexts):
        return [np.sign(sum(len(p.chosen) - len(p.rejected) for p in context)) for context in contexts]

    def score_many(self, items):
        return [np.array([item.state * len(text) for text in item.completions], dtype=float) for item in items]


@dataclass
class Toy:
    """A method whose model is a toy in memory."""

    model: type = Lengths
    uses_dev: bool = True
    name: str = "toy"
    usual_pool: str = "plus_context"
    made_of: tuple = ()
    trains_language_model: bool = False
    needs_prompts: bool = False

    def make(self, options, **materials):
        return self.model()


def row_of(model=Lengths, pool=None, *, uses_dev=True):
    return RewardRow(Recipe(Toy(model, uses_dev)), pool)


def test_a_reward_model_is_a_row_like_any_other():
    method = row_of()
    method.learn(HELD, {})
    outcome = outcome_of(judge_targets(method, method.know(USERS), HELD.targets))
    assert (outcome.margins > 0).all()
    assert (outcome.n_unscored, outcome.orders) == (0, None)


def test_a_user_is_scored_by_a_model_that_has_not_seen_them():
    method = row_of()
    method.learn(HELD, {})
    targets = {pair.hash for pair in HELD.targets}
    assert set(method._models) == {fold_of(user.user_id, N_FOLDS) for user in USERS}
    for fold, model in method._models.items():
        seen = {pair.user_id for pair in model.pairs} | {p.user_id for one in model.dev for p in one.context}
        assert seen == {user.user_id for user in USERS if fold_of(user.user_id, N_FOLDS) != fold}
        assert not targets & {pair.hash for pair in model.pairs}


def test_train_users_are_learned_from_whole_and_dev_users_stop_it():
    train, dev = {"t": tiny_users(1, 4)[0]}, {user.user_id: user for user in tiny_users(2, 8)}
    method = row_of()
    method.learn(HeldOut(HELD.context, HELD.targets, (), (), train, dev), {})
    assert [len(one.targets) > 0 for one in method._models[0].dev] == [True, True]


def split_data():
    """Six test users with context and targets, two train users, two dev users, and a raw pair of each test user's talk."""
    train, dev = ({f"{kind}{n}": renamed(f"{kind}{n}") for n in range(2)} for kind in ("train", "dev"))
    raw = tuple(replace(pair, chosen="Raw.", rejected="Not raw.") for pair in HELD.targets)
    fresh = tuple(tiny_pair("u0", number) for number in (90, 91))
    return replace(HELD, train=train, dev=dev, unfiltered=(*HELD.targets, *raw, *fresh))


def renamed(user_id):
    return User(user_id, tuple(tiny_pair(user_id, number) for number in range(8)))


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        ("train_users", {"train0", "train1"}),
        ("plus_context", {"train0", "train1", "dev0", "dev1", *HELD.context}),
        ("unfiltered", {"train0", "train1", "dev0", "dev1", *HELD.context}),
    ],
)
def test_a_row_learns_from_its_pool_and_from_no_target(pool, wanted):
    held_out, method = split_data(), row_of(pool=PoolSettings(pool))
    method.learn(held_out, {})
    (model,) = method._models.values()
    learned = {pair.hash for pair in model.pairs}
    of_dev = {pair.hash for one in model.dev for pair in one.targets}
    assert {pair.user_id for pair in model.pairs} == wanted and of_dev
    assert not learned & ({pair.hash for pair in HELD.targets} | of_dev)
    talks = {(pair.user_id, pair.conversation_key) for pair in HELD.targets}
    assert not talks & {(pair.user_id, pair.conversation_key) for pair in model.pairs}
    assert (tiny_pair("u0", 90).hash in learned) == (pool == "unfiltered")
    outcome = outcome_of(judge_targets(method, method.know(USERS), held_out.targets))
    assert (outcome.margins > 0).all()


def test_a_row_that_no_dev_user_stops_learns_from_train_users_whole():
    train = {f"t{number}": renamed(f"t{number}") for number in range(12)}
    rows = [row_of(pool=PoolSettings("train_users"), uses_dev=uses) for uses in (True, False)]
    for row in rows:
        row.learn(replace(HELD, train=train), {})
    n_learned = [len(row._models[0].pairs) for row in rows]
    assert n_learned[0] < n_learned[1] == 12 * 8 and rows[0]._models[0].dev and not rows[1]._models[0].dev


def test_the_usual_pool_of_gpo_is_train_users_and_context_too_of_the_others():
    run = {"name": "r", "datasets": [{"name": "d", "path": "d.jsonl"}], "methods": ["gpo", "pal"]}
    spec = spec_from(RunSpec, run | {"encoders": [{"label": "s"}]}, "run")
    assert [pool_of(spec, name).pool for name in ("gpo", "vpl", "pal")] == ["train_users", *2 * ["plus_context"]]
    told = spec_from(
        RunSpec, run | {"encoders": [{"label": "s"}], "reward_models": [{"method": "pal", "pool": "unfiltered"}]}, "run"
    )
    assert pool_of(told, "pal").pool == "unfiltered"


def test_a_reward_that_is_no_number_is_unscored():
    class Broken(Lengths):
        def score_many(self, items):
            return [np.array([np.nan, 1.0]) for _ in items]

    method = row_of(Broken)
    method.learn(HELD, {})
    judged = judge_targets(method, method.know(USERS), HELD.targets)
    assert {one.unscored for one in judged} == {"the reward model gave no finite reward"}


def test_it_must_learn_first_and_needs_pairs():
    with pytest.raises(NotFitted, match="was not trained"):
        row_of().judge([(Knowledge("u0"), HELD.targets[0])])
    with pytest.raises(BadInput, match="learns from other users"):
        row_of().learn(HeldOut({}, (), (), ()), {})


def test_a_method_without_use_for_dev_users_learns_from_everybody_outside_the_fold():
    method = row_of(uses_dev=False)
    method.learn(HELD, {})
    for fold, model in method._models.items():
        outside = {user.user_id for user in USERS if fold_of(user.user_id, N_FOLDS) != fold}
        assert {pair.user_id for pair in model.pairs} == outside and model.dev == ()
