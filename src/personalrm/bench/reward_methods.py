"""One adapter for every trained reward model: its row of the table learns, knows and judges through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from personalrm.bench.method import Item, Judgement, Knowledge, Surveys
from personalrm.bench.targets import HeldOut
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import split_user
from personalrm.preferences.users import User
from personalrm.rewards.reward_model import DevUser, RewardModel, margins

NOT_FINITE = "the reward model gave no finite reward"


class RewardMethod:
    """A row of a trained reward model.

    Trained once, on all pairs of the train users and the context pairs of the scored users;
    the dev users are split by the one rule and stop it in time.

    Args:
        make: Makes the untrained model.
    """

    def __init__(self, make: Callable[[], RewardModel[Any]]) -> None:
        self._make = make
        self._model: RewardModel[Any] | None = None

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Train the model; targets of the scored users are never read."""
        self._model = self._make().fit(_training_pairs(held_out.learnable), dev=_dev_users(held_out.dev))

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """The model's state of each user; without context pairs that of the average user."""
        states = self._fitted.condition_many([user.pairs for user in users])
        return [Knowledge(user.user_id, state) for user, state in zip(users, states, strict=True)]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """The margin of every pair; one that is not finite is unscored."""
        if not items:
            return []
        found = margins(self._fitted, [knowledge.value for knowledge, _ in items], [pair for _, pair in items])
        return [Judgement(margin=float(m)) if np.isfinite(m) else Judgement(unscored=NOT_FINITE) for m in found]

    @property
    def _fitted(self) -> RewardModel[Any]:
        if self._model is None:
            raise NotFitted("this reward model was not trained; call learn before know and judge")
        return self._model


def _training_pairs(users: Mapping[str, User]) -> list[PreferencePair]:
    pairs = [pair for user in users.values() for pair in user]
    if not pairs:
        raise BadInput("there is no pair to train a reward model on; add users")
    return pairs


def _dev_users(users: Mapping[str, User]) -> list[DevUser]:
    """The dev users with their own context and targets; those without a target cannot be measured on."""
    splits = [split_user(user.pairs) for user in users.values()]
    return [DevUser(split.context, split.target) for split in splits if split.context and split.target]
