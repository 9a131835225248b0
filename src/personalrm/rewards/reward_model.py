"""What a trained reward model is to us: fitted on pairs, conditioned on a user, asked for rewards.

The border is numpy and nouns; whatever a method uses inside stays inside. A model that
compares pairs instead of scoring completions (GPO) implements the same protocol: its
reward of a completion is the mean margin over the other completions asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

import numpy as np

from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.stats.arrays import FloatArray

State = TypeVar("State")
"""What a model knows of one user."""
Part = TypeVar("Part")
ContextPolicy = Literal["context_only", "autoregressive"]
"""Whether a target is judged by the context alone, or also by the targets of earlier turns of its conversation."""


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
    """A reward model of one method; a class that inherits from it gets `condition` and `score`.

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
        return self.condition_many([context])[0]

    def score(self, state: State, conversation: Conversation, completions: Sequence[str]) -> FloatArray:
        """`score_many` of one item, shape `(completions,)`."""
        return self.score_many([ScoreItem(state, conversation, tuple(completions))])[0]

    def save(self, folder: str | Path) -> None:
        """Write safetensors and JSON; the class's `load(folder, ...)` reads them."""
        ...


def fitted(part: Part | None, name: str) -> Part:
    """What `fit` or `load` left of a method.

    Raises:
        NotFitted: Before either.
    """
    if part is None:
        raise NotFitted(f"a {name} model was asked before it was fitted; call fit or load first")
    return part


def margins(model: RewardModel[Any], states: Sequence[Any], pairs: Sequence[PreferencePair]) -> FloatArray:
    """reward(chosen) - reward(rejected) of each pair under its user's state, shape `(pairs,)`; 0 is a tie."""
    items = [
        ScoreItem(state, pair.conversation, (pair.chosen, pair.rejected), pair.user_id)
        for state, pair in zip(states, pairs, strict=True)
    ]
    return np.array([rewards[0] - rewards[1] for rewards in model.score_many(items)], dtype=np.float64)


def target_margins(
    model: RewardModel[Any], users: Sequence[DevUser], *, context_policy: ContextPolicy = "context_only"
) -> FloatArray:
    """Margins of all users' targets, one user after another, shape `(targets,)`.

    `autoregressive` adds what a user chose in earlier turns of the target's conversation to
    their context. That is legal in time but more than other methods are told, so
    `context_only` is the figure to report.

    Raises:
        BadInput: If the policy is unknown.
    """
    if context_policy not in get_args(ContextPolicy):
        raise BadInput(f"unknown context_policy {context_policy!r}; use one of {', '.join(get_args(ContextPolicy))}")
    if context_policy == "context_only":
        states = model.condition_many([user.context for user in users])
        of_target = [state for state, user in zip(states, users, strict=True) for _ in user.targets]
    else:
        of_target = model.condition_many([_seen_before(pair, user) for user in users for pair in user.targets])
    return margins(model, of_target, [pair for user in users for pair in user.targets])


def _seen_before(target: PreferencePair, user: DevUser) -> tuple[PreferencePair, ...]:
    """Context and targets of earlier turns; pairs of the target's own turn share completions and tell the label."""
    n_turns = len(target.conversation)
    own = [pair for pair in user.targets if pair.conversation_key == target.conversation_key]
    return (*user.context, *(pair for pair in own if len(pair.conversation) < n_turns))
