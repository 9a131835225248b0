"""A served reward model: the right bodies on each route, rewards back in order, faults survived or told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.fake_rewards import FakeRewardServer

from personalrm.errors import AccessRefused, ModelUnavailable, UnknownName
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.http import Endpoint
from personalrm.lm.reward_server import ROUTES, RewardServer, Route
from personalrm.lm.settings import Retry
from personalrm.preferences.messages import Message
from personalrm.rewards.language.served import ServedRewards
from personalrm.rewards.language.user_turns import RawHistory, UserTurn
from personalrm.rewards.reward_model import ScoreItem
from personalrm.testing import tiny_pair

ASKED = (Message("user", "Where to?"),)
OFFERED = ("The lake.", "The old town, on foot.", "Home.")


def served(server: FakeRewardServer, route: Route = "classify", cache: Path | None = None) -> ServedRewards:
    reward_server = RewardServer(Endpoint("rm", server.url, "key"), route=route)
    return ServedRewards(
        Caller(reward_server, cache=Cache(cache) if cache else None, retry=Retry(max_attempts=3, base_s=0.01))
    )


def length(text: str) -> float:
    return float(len(text))


@pytest.mark.parametrize("route", ROUTES)
def test_rewards_come_back_in_order_on_every_route(route: Route) -> None:
    with FakeRewardServer(length) as server, (model := served(server, route)).caller:
        rewards = model.score(UserTurn(""), ASKED, OFFERED)
    assert np.argsort(rewards).tolist() == [2, 0, 1] and len(server.bodies) == 3


def test_the_users_turn_comes_first_and_raw_rewards_are_asked_for() -> None:
    with FakeRewardServer(length) as server, (model := served(server)).caller:
        model.score(UserTurn("Likes lakes."), ASKED, OFFERED[:1])
    body = server.bodies[0]
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant"]
    assert body["messages"][0]["content"] == "Likes lakes." and body["use_activation"] is False
    assert body["model"] == "rm" and body["add_generation_prompt"] is False


def test_many_items_are_scored_as_one_by_one() -> None:
    items = [ScoreItem(UserTurn(f"{n}"), ASKED, OFFERED[: n % 4]) for n in range(6)]
    with FakeRewardServer(length) as server, (model := served(server)).caller:
        together = model.score_many(items)
        alone = [model.score(item.state, item.conversation, item.completions) for item in items]
    assert [one.tolist() for one in together] == [one.tolist() for one in alone]


def test_rewards_are_kept_and_not_asked_for_twice(tmp_path: Path) -> None:
    for _ in range(2):
        with FakeRewardServer(length) as server, (model := served(server, cache=tmp_path / "c.sqlite")).caller:
            first = model.score(UserTurn(""), ASKED, OFFERED)
            again = model.score(UserTurn(""), ASKED, OFFERED)
        assert first.tolist() == again.tolist() and len(server.bodies) == 3


def test_a_trailing_v1_of_the_base_url_is_dropped() -> None:
    with FakeRewardServer(length) as server:
        model = ServedRewards(Caller(RewardServer(Endpoint("rm", server.url + "/v1/"))))
        with model.caller:
            assert model.score(UserTurn(""), ASKED, OFFERED).shape == (3,)


def test_a_text_of_ones_own_making_is_sent_as_input() -> None:
    with FakeRewardServer(length) as server:
        own = RewardServer(
            Endpoint("rm", server.url), route="pooling", render=lambda request: f"n={len(request.messages)}"
        )
        with (model := ServedRewards(Caller(own))).caller:
            assert model.score(UserTurn(""), ASKED, OFFERED[:1]).tolist() == [3.0]


@pytest.mark.parametrize("statuses", [(500,), (503, 429), (502, 500)])
def test_passing_faults_are_survived(statuses: tuple[int, ...]) -> None:
    with FakeRewardServer(length, statuses=statuses) as server, (model := served(server)).caller:
        assert np.isfinite(model.score(UserTurn(""), ASKED, OFFERED)).all()


def test_a_wrong_key_is_told() -> None:
    refused = pytest.raises(AccessRefused, match="check the key")
    with FakeRewardServer(length, statuses=(401,)) as server, (model := served(server)).caller, refused:
        model.score(UserTurn(""), ASKED, OFFERED[:1])


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_not_measured(reward: float) -> None:
    def rule(text: str) -> float:
        return reward if "lake" in text else 1.0

    with FakeRewardServer(rule) as server, (model := served(server)).caller:
        rewards = model.score(UserTurn(""), ASKED, OFFERED)
        assert np.isnan(rewards).tolist() == [True, False, False]
        with pytest.raises(ModelUnavailable, match="none of 1 rewards"):
            model.score(UserTurn(""), ASKED, OFFERED[:1])


def test_nothing_asked_is_nothing_sent() -> None:
    with FakeRewardServer(length) as server, (model := served(server)).caller:
        assert model.score_many([]) == [] and model.score(UserTurn(""), ASKED, ()).shape == (0,)
    assert server.bodies == []


def test_an_unknown_route_is_refused() -> None:
    with pytest.raises(UnknownName, match="rerank"):
        RewardServer(Endpoint("rm", "http://x"), route="rerank")  # type: ignore[arg-type]


def test_states_are_the_turns_of_contexts() -> None:
    pair = tiny_pair()
    model = ServedRewards(Caller(RewardServer(Endpoint("rm", "http://x"))), turns=RawHistory(k=1))
    assert pair.chosen in model.condition([pair]).system and model.name == "bradley_terry_history_served"
    model.caller.close()
