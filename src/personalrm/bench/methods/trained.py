"""Trained reward models as rows of the benchmark: one training, or one for each fold of users.

Where the data splits its users there is one model, of the pool that was asked for
(`pools.py`). Elsewhere users are dealt into folds by a hash of
their id. The model that scores a user has seen the context pairs of all users of the other
folds and nothing of this user's but what it is conditioned on; so, as with the embedded
engine, what everybody else prefers never contains the user. Some of the training users
stop the training in time, on pairs of their own context. Targets are never read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from personalrm.bench.methods.folds import N_FOLDS, as_dev, fold_of, is_dev
from personalrm.bench.methods.method import Item, Judgement, Knowledge, Surveys
from personalrm.bench.methods.pools import PoolSettings, divide
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.rewards.reward_model import RewardModel, margins

NOT_FINITE = "the reward model gave no finite reward"


class RewardRow:
    """A reward model as a row.

    Args:
        make: Makes an untrained model.
        n_folds: How many models are trained; each scores the users it has not seen.
        uses_dev: Whether some users are kept to stop the training; else it learns from all outside the fold.
        pool: What one model learns from where the data splits its users; folds there too where None.
    """

    def __init__(
        self,
        make: Callable[[], RewardModel[Any]],
        *,
        n_folds: int = N_FOLDS,
        uses_dev: bool = True,
        pool: PoolSettings | None = None,
    ) -> None:
        self._make, self._n_folds, self._uses_dev, self._pool = make, n_folds, uses_dev, pool
        self._learned_from: HeldOut | None = None
        self._models: list[RewardModel[Any]] = []

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """One model of the pool, or one a fold, trained on the context pairs of everybody outside it.

        Raises:
            BadInput: If there are too few users to leave a fold out, or none in the pool.
        """
        if held_out is self._learned_from:
            return
        if held_out.has_parts and self._pool is not None:
            self._models, self._n_folds, self._learned_from = [self._of_pool(held_out, self._pool)], 1, held_out
            return
        users = [user for user in held_out.learnable.values() if user.pairs]
        if len(users) < 2:
            raise BadInput(f"a reward model learns from other users' pairs and {len(users)} has any; add users")
        self._models = [self._trained(users, list(held_out.dev.values()), fold) for fold in range(self._n_folds)]
        self._learned_from = held_out

    def _of_pool(self, held_out: HeldOut, pool: PoolSettings) -> RewardModel[Any]:
        (portion,) = divide(held_out, pool).portions
        if self._uses_dev:
            return self._make().fit(portion.pairs, dev=portion.dev)
        kept = [pair for one in portion.dev for pair in (*one.context, *one.targets) if pair.user_id in held_out.train]
        return self._make().fit([*portion.pairs, *kept])

    def _trained(self, users: Sequence[User], dev: Sequence[User], fold: int) -> RewardModel[Any]:
        others = [user for user in users if self._fold(user.user_id) != fold and user.pairs]
        train, looks = others, [as_dev(user, is_scored=False) for user in dev]
        if not dev and self._uses_dev:  # the data names no dev users, so some of those learned from stop the training
            looks = [as_dev(user, is_scored=True) for user in others if is_dev(user)]
            train = [user for user in others if not is_dev(user)] or others
        pairs = [pair for user in train for pair in user.pairs]
        return self._make().fit(pairs, dev=[one for one in looks if one.targets])

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """The state of each user under every fold's model: their own pairs need one, somebody else's another."""
        contexts = [user.pairs for user in users]
        states = [model.condition_many(contexts) for model in self._trained_models]
        return [Knowledge(user.user_id, own) for user, own in zip(users, zip(*states, strict=True), strict=True)]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """The margin of every pair under the model that has not seen its owner."""
        found: list[Judgement] = [Judgement()] * len(items)
        for fold, model in enumerate(self._trained_models):
            places = [place for place, (_, pair) in enumerate(items) if self._fold(pair.user_id) == fold]
            states = [items[place][0].value[fold] for place in places]
            pairs: list[PreferencePair] = [items[place][1] for place in places]
            for place, margin in zip(places, margins(model, states, pairs) if pairs else (), strict=True):
                found[place] = judgement_of(float(margin))
        return found

    @property
    def _trained_models(self) -> list[RewardModel[Any]]:
        if not self._models:
            raise NotFitted("this reward model was not trained; call learn before know and judge")
        return self._models

    def _fold(self, user_id: str) -> int:
        return fold_of(user_id, self._n_folds)


def judgement_of(margin: float) -> Judgement:
    """A margin as a judgement; one that is no number is unscored."""
    return Judgement(margin=margin) if math.isfinite(margin) else Judgement(unscored=NOT_FINITE)
