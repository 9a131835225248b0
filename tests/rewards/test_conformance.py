"""What every reward model promises, over all of them; a new method is one row of MODELS."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from benchmarks.simulations.planted_encoder import PlantedEncoder
from tests.rewards.tiny import tiny_model, tiny_options, tiny_vpl_options
from torch.optim.optimizer import register_optimizer_step_post_hook

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, CorruptFile, NotFitted, StoreError
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.bases import LowRankOptions
from personalrm.rewards.heads.gpo.model import GPO, GPOOptions
from personalrm.rewards.heads.gpo.network import GPOShape
from personalrm.rewards.heads.low_rank import LowRank
from personalrm.rewards.heads.mrm import MRM, MRMOptions
from personalrm.rewards.heads.pal import PAL, PALOptions
from personalrm.rewards.heads.soups import Soup, SoupOptions
from personalrm.rewards.heads.two_level import TwoLevel
from personalrm.rewards.heads.vpl.model import VPL, VPLOptions
from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup, BradleyTerrySoupOptions
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.user_turns import Nothing, RawHistory, UserTurns
from personalrm.rewards.language.vpl_lm.model import LanguageVPL
from personalrm.rewards.methods import MATERIALS, REWARD_MODELS
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, margins
from personalrm.rewards.training import Optimization
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)


@dataclass(frozen=True)
class Row:
    """A model as the suite makes it: small, quick, with a seed."""

    make: Callable[[EmbeddingStore], RewardModel[Any]]
    load: Callable[[Path, EmbeddingStore], RewardModel[Any]]


QUICK = Optimization(n_steps=20, learning_rate=1e-2)
SMALL = GPOOptions(
    shape=GPOShape(width=16, n_heads=2, n_layers=2, n_embedder_layers=2),
    optimization=Optimization(n_steps=10, learning_rate=1e-2),
)
WIDE = replace(SMALL, tokens="concatenated", labels="zero_pad", shape=replace(SMALL.shape, has_target_bit=True))
FAITHFUL_SMALL = replace(
    GPOOptions.faithful(), shape=replace(SMALL.shape, has_null=False), optimization=SMALL.optimization
)
SMALL_MRM = MRMOptions(n_bases=3, spread=0.1, optimization=Optimization(n_steps=10, learning_rate=1e-2))
MODELS: dict[str, Row] = {
    "population": Row(lambda store: LowRank(store, LowRankOptions(n_bases=1)), LowRank.load),
    "low_rank": Row(lambda store: LowRank(store, LowRankOptions(n_bases=3, spread=0.1)), LowRank.load),
    "mrm": Row(lambda store: MRM(store, SMALL_MRM), MRM.load),
    "soup": Row(lambda store: Soup(store, SoupOptions(n_bases=2)), Soup.load),
    "two_level": Row(TwoLevel, TwoLevel.load),
    "gpo": Row(lambda store: GPO(store, SMALL), GPO.load),
    "gpo_concatenated": Row(lambda store: GPO(store, WIDE), GPO.load),
    "gpo_faithful": Row(lambda store: GPO(store, FAITHFUL_SMALL), GPO.load),
    "pal": Row(lambda store: PAL(store, PALOptions(width=6, optimization=QUICK)), PAL.load),
    "pal_cosine": Row(lambda store: PAL(store, PALOptions(width=6, similarity="cosine", optimization=QUICK)), PAL.load),
    "pal_bare_items": Row(
        lambda store: PAL(store, PALOptions(width=6, item_has_prompt=False, optimization=QUICK)), PAL.load
    ),
    "pal_a": Row(lambda store: PAL(store, PALOptions(variant="a", n_prototypes=3, optimization=QUICK)), PAL.load),
    "vpl": Row(lambda store: VPL(store, VPLOptions(width=8, latent=4, optimization=QUICK)), VPL.load),
    "vpl_swapped": Row(
        lambda store: VPL(store, VPLOptions(width=8, latent=4, swap_weight=0.1, optimization=QUICK)), VPL.load
    ),
    "vpl_lm": Row(lambda store: LanguageVPL(tiny_model(), store, tiny_vpl_options()), LanguageVPL.load),
}
IMPERSONAL = {"population", "bradley_terry"}
"""Rows whose state does not depend on the user."""
QUESTION = tiny_pair().conversation
COMPLETIONS = ("One.", "Two, and more of it.", "Three!")


def user_pairs(user: int, n_pairs: int = 6) -> list[PreferencePair]:
    return [tiny_pair(f"u{user}", 10 * user + k, likes_long=user % 2 == 0) for k in range(n_pairs)]


TRAINING = [pair for user in range(4) for pair in user_pairs(user, 4)]
CONTEXT = user_pairs(7, 4)
CONTEXTS = [CONTEXT, user_pairs(8, 2), [], user_pairs(9, 5)]


def language_model_row(*, with_history: bool) -> Row:
    """A model that needs no store; the store's encoder stands for the base model."""

    def base(store: EmbeddingStore) -> str:
        return tiny_model(int(store.encoder.identity.split()[-1]))

    def turns() -> UserTurns:
        return RawHistory(TRAINING, k=2) if with_history else Nothing()

    return Row(
        lambda store: BradleyTerry(base(store), tiny_options(epochs=1 if with_history else 2), turns=turns()),
        lambda folder, store: BradleyTerry.load(folder, base=base(store), turns=turns()),
    )


def soup_row(mixture_of: Literal["weights", "rewards"]) -> Row:
    """Adapters over clusters of users, mixed for each."""
    options = BradleyTerrySoupOptions(n_clusters=2, mixture_of=mixture_of, strength=0.1, adapters=tiny_options())

    def base(store: EmbeddingStore) -> str:
        return tiny_model(int(store.encoder.identity.split()[-1]))

    return Row(
        lambda store: BradleyTerrySoup(base(store), options),
        lambda folder, store: BradleyTerrySoup.load(folder, base=base(store)),
    )


MODELS["bradley_terry"] = language_model_row(with_history=False)
for _mixture in ("weights", "rewards"):
    MODELS[f"bradley_terry_soup_{_mixture}"] = soup_row(_mixture)
MODELS["bradley_terry_history"] = language_model_row(with_history=True)


@pytest.fixture(
    scope="module",
    params=MODELS,
)
def row(request: pytest.FixtureRequest) -> Row:
    return MODELS[request.param]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return EmbeddingStore(tmp_path_factory.mktemp("store"), PlantedEncoder())


@pytest.fixture(scope="module")
def model(row: Row, store: EmbeddingStore) -> RewardModel[Any]:
    return row.make(store).fit(TRAINING)


def test_rewards_are_finite_numbers_one_a_completion(model: RewardModel[Any]) -> None:
    rewards = model.score(model.condition(CONTEXT), QUESTION, COMPLETIONS)
    assert rewards.shape == (3,) and rewards.dtype == np.float64 and np.isfinite(rewards).all()


def test_swapping_a_pair_negates_its_margin(model: RewardModel[Any]) -> None:
    states, pairs = model.condition_many([CONTEXT] * 4), user_pairs(5, 4)
    there, back = margins(model, states, pairs), margins(model, states, [pair.reversed() for pair in pairs])
    assert there == pytest.approx(-back, abs=1e-6) and np.abs(there).min() > 0


def test_completions_are_scored_the_same_in_any_order(model: RewardModel[Any]) -> None:
    state = model.condition(CONTEXT)
    rewards = model.score(state, QUESTION, COMPLETIONS)
    assert model.score(state, QUESTION, COMPLETIONS[::-1])[::-1] == pytest.approx(rewards, abs=1e-5)


def test_a_context_may_come_in_any_order_of_rows(model: RewardModel[Any]) -> None:
    rewards = model.score(model.condition(CONTEXT), QUESTION, COMPLETIONS)
    assert model.score(model.condition(CONTEXT[::-1]), QUESTION, COMPLETIONS) == pytest.approx(rewards, abs=1e-5)


def test_users_together_are_users_one_by_one(model: RewardModel[Any]) -> None:
    together = [model.score(state, QUESTION, COMPLETIONS) for state in model.condition_many(CONTEXTS)]
    alone = [model.score(model.condition(context), QUESTION, COMPLETIONS) for context in CONTEXTS]
    assert np.array(together) == pytest.approx(np.array(alone), abs=1e-5)


def test_items_together_are_items_one_by_one(model: RewardModel[Any]) -> None:
    states = model.condition_many(CONTEXTS)
    items = [ScoreItem(state, QUESTION, COMPLETIONS[: 1 + n % 3]) for n, state in enumerate(states * 3)]
    for item, rewards in zip(items, model.score_many(items), strict=True):
        assert rewards == pytest.approx(model.score(item.state, item.conversation, item.completions), abs=1e-5)


def test_an_empty_context_is_the_average_user(model: RewardModel[Any]) -> None:
    rewards = model.score(model.condition([]), QUESTION, COMPLETIONS)
    assert np.isfinite(rewards).all()
    assert model.score(model.condition_many([CONTEXT, []])[1], QUESTION, COMPLETIONS) == pytest.approx(
        rewards, abs=1e-5
    )


def test_who_the_user_is_matters(model: RewardModel[Any], request: pytest.FixtureRequest) -> None:
    states = model.condition_many([CONTEXT, [pair.reversed() for pair in CONTEXT]])
    found = [model.score(state, QUESTION, COMPLETIONS) for state in states]
    is_personal = request.node.callspec.params["row"] not in IMPERSONAL
    assert (np.abs(found[0] - found[1]).max() > 1e-6) == is_personal


def test_nothing_asked_is_nothing_answered(model: RewardModel[Any]) -> None:
    assert model.condition_many([]) == [] and model.score_many([]) == []
    assert model.score(model.condition([]), QUESTION, ()).shape == (0,)


def test_equal_seeds_give_equal_models(row: Row, store: EmbeddingStore, model: RewardModel[Any]) -> None:
    again = row.make(store).fit(TRAINING)
    rewards = [one.score(one.condition(CONTEXT), QUESTION, COMPLETIONS).tolist() for one in (again, model)]
    assert rewards[0] == rewards[1]


def test_a_saved_model_scores_the_same(
    row: Row, store: EmbeddingStore, model: RewardModel[Any], tmp_path: Path
) -> None:
    model.save(tmp_path)
    loaded = row.load(tmp_path, store)
    rewards = [one.score(one.condition(CONTEXT), QUESTION, COMPLETIONS).tolist() for one in (loaded, model)]
    assert rewards[0] == rewards[1] and loaded.name == model.name


def test_a_damaged_model_is_refused(row: Row, store: EmbeddingStore, model: RewardModel[Any], tmp_path: Path) -> None:
    model.save(tmp_path)
    weights = next(path for path in tmp_path.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises((CorruptFile, StoreError)):
        row.load(tmp_path, store)


def test_no_model_is_no_model(row: Row, store: EmbeddingStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        row.load(tmp_path, store)


def test_a_model_of_another_encoder_is_refused(row: Row, model: RewardModel[Any], tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    other = EmbeddingStore(tmp_path / "other", PlantedEncoder(seed=1))
    with pytest.raises(BadInput, match="another encoder"):
        row.load(tmp_path / "model", other)


def test_a_model_that_was_not_fitted_says_so(row: Row, store: EmbeddingStore, tmp_path: Path) -> None:
    fresh = row.make(store)
    for ask in (lambda: fresh.condition(CONTEXT), lambda: fresh.save(tmp_path)):
        with pytest.raises(NotFitted):
            ask()


def test_no_pairs_are_nothing_to_learn_from(row: Row, store: EmbeddingStore) -> None:
    with pytest.raises(BadInput):
        row.make(store).fit([])


def test_one_pair_is_enough_to_fit(row: Row, store: EmbeddingStore) -> None:
    model = row.make(store).fit(TRAINING[:1])
    assert np.isfinite(model.score(model.condition(CONTEXT), QUESTION, COMPLETIONS)).all()


def test_dev_users_without_targets_decide_nothing(row: Row, store: EmbeddingStore, model: RewardModel[Any]) -> None:
    blind = row.make(store).fit(TRAINING, dev=[DevUser(tuple(CONTEXT), ()), DevUser((), ())])
    rewards = [one.score(one.condition(CONTEXT), QUESTION, COMPLETIONS).tolist() for one in (blind, model)]
    assert rewards[0] == rewards[1]


def test_fitting_again_is_fitting_anew(row: Row, store: EmbeddingStore) -> None:
    dev = [DevUser(tuple(CONTEXT[:3]), tuple(user_pairs(7)[3:]))]
    model = row.make(store)
    found = [
        one.score(one.condition(CONTEXT), QUESTION, COMPLETIONS).tolist()
        for one in (model.fit(TRAINING, dev=dev) for _ in range(2))
    ]
    assert found[0] == found[1]


STEPPING = {
    "mrm": SMALL_MRM,
    "gpo": SMALL,
    "vpl": VPLOptions(width=8, latent=4, optimization=QUICK),
    "pal": PALOptions(width=6, optimization=QUICK),
}
"""Options of the methods that take steps, by their name in the table."""


def test_every_method_that_takes_steps_is_resumed_below() -> None:
    assert set(STEPPING) == {
        name for name, one in REWARD_MODELS.items() if one.takes_steps and not one.trains_language_model
    }


@pytest.mark.parametrize("name", STEPPING)
def test_a_training_that_was_stopped_goes_on_with_the_same_curve(
    name: str, store: EmbeddingStore, tmp_path: Path
) -> None:
    often = replace(QUICK, n_steps=12, check_every=2, checkpoint_every=3)
    options = replace(STEPPING[name], optimization=often)
    dev = [DevUser(tuple(user_pairs(user)[:3]), tuple(user_pairs(user)[3:])) for user in (7, 8)]
    make = REWARD_MODELS[name].make
    whole = make(options, store=store).fit(TRAINING, dev=dev)
    with stopped_at(8), pytest.raises(KeyboardInterrupt):
        make(options, store=store, checkpoint=tmp_path / "run").fit(TRAINING, dev=dev)
    resumed = make(options, store=store, checkpoint=tmp_path / "run").fit(TRAINING, dev=dev)
    rewards = [one.score(one.condition(CONTEXT), QUESTION, COMPLETIONS).tolist() for one in (resumed, whole)]
    assert rewards[0] == rewards[1]
    curves = [vars(one)["curve"] for one in (resumed, whole)]
    assert curves[0] == curves[1] and [step for step, _ in curves[0].dev] == [2, 4, 6, 8, 10, 12]


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Ends a training by the user's hand after so many steps of Adam."""
    steps = iter(range(1, step))

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)) and next(steps, None) is None:
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_scoring_leaves_nothing_behind_unless_it_has_an_owner(model: RewardModel[Any], store: EmbeddingStore) -> None:
    before = len(store)
    model.score(model.condition([]), QUESTION, ("Never seen before.", "Nor this."))
    assert len(store) == before


@pytest.mark.parametrize("name", REWARD_MODELS)
def test_the_table_says_what_a_class_is_made_of(name: str) -> None:
    method = REWARD_MODELS[name]
    parameters = inspect.signature(method.model_class).parameters
    assert [one for one in MATERIALS if one in parameters] == sorted(method.made_of, key=MATERIALS.index)
    assert set(parameters) <= {*MATERIALS, "options", "cache"}
    assert method.has_published == hasattr(method.model_class.options_type, "faithful")


def test_every_class_of_the_table_has_a_row_here(store: EmbeddingStore) -> None:
    tested = {type(row.make(store)) for row in MODELS.values()}
    assert {method.model_class for method in REWARD_MODELS.values()} <= tested
