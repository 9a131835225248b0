"""What a trained reward model is to us: fitted on pairs, conditioned on a user, asked for rewards.

The border is numpy and nouns; whatever a method uses inside stays inside. A model that
compares pairs instead of scoring completions (GPO) implements the same protocol: its
reward of a completion is the mean margin over the other completions asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair

FloatArray = npt.NDArray[np.float64]
State = TypeVar("State")
"""What a model knows of one user."""


@dataclass(frozen=True, repr=False)
class DevUser:
    """A user whose targets may be read while a model is trained, to stop in time and to choose settings."""

    context: tuple[PreferencePair, ...]
    targets: tuple[PreferencePair, ...]

    def __repr__(self) -> str:
        return f"DevUser(context={len(self.context)}, targets={len(self.targets)})"


@dataclass(frozen=True, repr=False)
class ScoreItem:
    """One question to a reward model: a user's state, a conversation, its completions."""

    state: Any
    """What `condition` of the same model returned."""
    conversation: Conversation
    completions: tuple[str, ...]
    user_id: str = ""
    """Whose question it is, where its embeddings are to be kept for the next time; they go with the user's erasure."""

    def __repr__(self) -> str:
        return f"ScoreItem(turns={len(self.conversation)}, completions={len(self.completions)})"


class RewardModel(Protocol[State]):
    """A reward model of one method.

    Rewards are real numbers without unit; only differences within one question mean
    anything. The same question in other company gets the same rewards, an empty context
    is the average user, and equal seeds give equal models.
    """

    @property
    def name(self) -> str:
        """The method's name in tables: `gpo`, `low_rank`, ..."""
        ...

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train on the pairs of many users; returns the model itself.

        Raises:
            BadInput: If there are no pairs.
        """
        ...

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[State]:
        """What the model knows of each user from their context pairs, all users at once.

        Raises:
            NotFitted: Before `fit` or `load`.
        """
        ...

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """The rewards of each item's completions, shape `(completions,)` each.

        Raises:
            NotFitted: Before `fit` or `load`.
        """
        ...

    def condition(self, context: Sequence[PreferencePair]) -> State:
        """`condition_many` of one user."""
        ...

    def score(self, state: State, conversation: Conversation, completions: Sequence[str]) -> FloatArray:
        """`score_many` of one item."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write safetensors and JSON; the class's `load(folder, ...)` reads them."""
        ...


def margins(model: RewardModel[Any], states: Sequence[Any], pairs: Sequence[PreferencePair]) -> FloatArray:
    """reward(chosen) - reward(rejected) of each pair under its user's state, shape `(pairs,)`; 0 is a tie."""
    items = [
        ScoreItem(state, pair.conversation, (pair.chosen, pair.rejected), pair.user_id)
        for state, pair in zip(states, pairs, strict=True)
    ]
    return np.array([rewards[0] - rewards[1] for rewards in model.score_many(items)], dtype=np.float64)
