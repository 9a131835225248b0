"""What a target may be judged by: the context alone, or also what was chosen earlier in its conversation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.reward_model import DevUser, ScoreItem, target_margins
from personalrm.stats.arrays import FloatArray


class Remembering:
    """Its state is the completions chosen in the context; its margin how many these are."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[list[str]]:
        return [[pair.chosen for pair in context] for context in contexts]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        self.seen = [item.state for item in items]
        return [np.array([len(item.state), 0.0]) for item in items]


def pair(conversation: str, turn: int, rejected: str = "other") -> PreferencePair:
    """The pair of one turn of a conversation in which the first completion is always chosen."""
    turns: tuple[Message, ...] = ()
    for number in range(turn):
        turns += (Message("user", f"{conversation}?{number}"), Message("assistant", f"{conversation}{number}"))
    asked = (*turns, Message("user", f"{conversation}?{turn}"))
    return PreferencePair("u", asked, f"{conversation}{turn}", rejected, conversation_id=conversation)


CONTEXT = (pair("a", 0), pair("a", 1))
TARGETS = (pair("b", 0), pair("b", 1), pair("b", 1, "a third"), pair("c", 0), pair("c", 1))


def seen(policy: str) -> list[list[str]]:
    model = Remembering()
    target_margins(model, [DevUser(CONTEXT, TARGETS)], context_policy=policy)  # type: ignore[arg-type]
    return model.seen


def test_by_default_every_target_is_judged_by_the_context_alone() -> None:
    model = Remembering()
    assert target_margins(model, [DevUser(CONTEXT, TARGETS), DevUser((), TARGETS[:1])]).tolist() == [2.0] * 5 + [0.0]
    assert model.seen == [*seen("context_only"), []]


def test_autoregressive_adds_earlier_turns_of_the_targets_own_conversation() -> None:
    own = ["a0", "a1"]
    assert seen("autoregressive") == [own, [*own, "b0"], [*own, "b0"], own, [*own, "c0"]]


def test_autoregressive_never_shows_a_target_or_a_pair_of_its_turn() -> None:
    """Pairs of one turn share the chosen completion, so one of them gives the other's label away."""
    for target, shown in zip(TARGETS, seen("autoregressive"), strict=True):
        assert target.chosen not in shown


def test_nobody_has_no_targets() -> None:
    assert target_margins(Remembering(), []).shape == (0,)


def test_a_policy_nobody_knows_is_refused() -> None:
    with pytest.raises(BadInput, match="context_only, autoregressive"):
        seen("everything")
