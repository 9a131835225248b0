"""Personas say what is true: of people with planted tastes, and of the example people."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from benchmarks.simulations.planted import plant_users, score_claims

from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.preferences.people import example_users
from personalrm.stylometry.sentences import read_claim

TASTES = json.loads((files("personalrm") / "people" / "tastes.json").read_text("utf-8"))
SIGN = {"more": 1, "less": -1}


@pytest.fixture(scope="module")
def named() -> dict[str, dict[str, int]]:
    """For each example person the features their persona names, with the side."""
    users = example_users()
    prompts = EmbeddedFit.learned_from(users).fit(users)
    return {
        prompt.user_id: {
            leaning.feature: 1 if leaning.shift > 0 else -1
            for claim in prompt.persona.claims
            for leaning in read_claim(claim.text)
        }
        for prompt in prompts
    }


@pytest.mark.parametrize("person", [person for person, taste in TASTES.items() if taste["kind"] == "style"])
def test_a_taste_of_style_is_named_and_nothing_false(person: str, named: dict[str, dict[str, int]]) -> None:
    true = {feature: SIGN[side] for feature, side in TASTES[person]["leanings"].items()}
    assert named[person]
    assert named[person].items() <= true.items()


@pytest.mark.parametrize("person", [person for person, taste in TASTES.items() if taste["kind"] != "style"])
def test_no_claim_contradicts_another_kind_of_taste(person: str, named: dict[str, dict[str, int]]) -> None:
    true = {feature: SIGN[side] for feature, side in TASTES[person]["leanings"].items()}
    assert named[person].items() <= true.items()


def test_tastes_of_everybody_are_complete() -> None:
    people = [user.user_id for user in example_users()]
    assert list(TASTES) == people
    kinds = [TASTES[person]["kind"] for person in people]
    assert kinds.count("style") >= 5 and kinds.count("content") >= 4 and kinds.count("changing") >= 1
    for person in people:
        opposite, other = TASTES[person]["false_tastes"]
        assert opposite["of"] == "the opposite" and opposite["taste"] != TASTES[person]["taste"]
        assert other["of"] != person and other["taste"] == TASTES[other["of"]]["taste"]


def test_example_people_are_as_promised() -> None:
    users = example_users()
    assert len(users) >= 10
    assert all(10 <= len(user) <= 16 for user in users)
    assert sum(any(len(pair.conversation) > 1 for pair in user) for user in users) >= 5


@pytest.mark.slow
def test_claims_about_planted_tastes_are_true() -> None:
    score = score_claims(plant_users(200, 12))
    assert score.n_users == 200
    assert score.n_claims >= 50
    assert score.precision >= 0.8
    assert score.interval.low > 0.5  # half of the weights are zero: a coin would be right in a quarter of all claims
    assert score.recall > 0.05


def test_planted_users_choose_by_their_weights() -> None:
    planted = plant_users(20, 5, seed=3)
    assert [len(one.user) for one in planted] == [5] * 20
    share_of_zeros = sum(float((one.weights == 0).mean()) for one in planted) / len(planted)
    assert 0.4 < share_of_zeros < 0.6
    again = plant_users(20, 5, seed=3)
    assert [one.user for one in planted] == [one.user for one in again]
