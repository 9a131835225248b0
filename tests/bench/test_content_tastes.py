"""With a scripted judge of known skill the content tastes of the shipped examples are named too."""

from __future__ import annotations

from functools import cache

import pytest
from tests.fakes.trust import TOPICS, matching, naming

from personalrm import SynthesizeMe
from personalrm.bench.personas.validity import Described, ModelMatcher, measure_validity
from personalrm.lm.batch import Caller
from personalrm.preferences.people import example_tastes, example_users
from personalrm.testing import ScriptedLM

TASTES = example_tastes()
CONTENT = [user for user in example_users() if TASTES[user.user_id].kind == "content"]


@cache
def personas(skill: float):
    lm = ScriptedLM(naming(skill))
    return {user.user_id: SynthesizeMe(lm).fit(user).persona for user in CONTENT}


def named(persona) -> list[str]:
    return [topic for topic in TOPICS if topic in persona.text]


@pytest.mark.slow
def test_a_judge_of_full_skill_names_the_content_taste_of_everybody_with_pairs_behind_it():
    found = personas(1.0)
    assert {user: named(persona)[0].split(":")[0].lower() for user, persona in found.items()} == {
        user: TASTES[user].taste.rstrip(".").split(":")[0].lower() for user in found
    }
    assert all(len(claim.supporting) > len(claim.contradicting) for p in found.values() for claim in p.claims)


@pytest.mark.slow
def test_their_personas_match_the_hidden_taste_and_those_of_a_judge_without_skill_do_not():
    shares = []
    for skill in (1.0, 0.0):
        told = [Described(u, p, TASTES[u].taste, TASTES[u].false_tastes) for u, p in personas(skill).items()]
        with Caller(ScriptedLM(matching(1.0))) as caller:
            shares.append(measure_validity(told, ModelMatcher(caller)).choice.share)
    assert shares[0] >= 0.9 > 0.6 >= shares[1]
