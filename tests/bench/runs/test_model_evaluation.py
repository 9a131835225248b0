"""A judge of known skill: the rows of the table come out as its rule says they must."""

import random

import pytest

from personalrm.bench.runs.evaluation import evaluate
from personalrm.datasets.targets import hold_out
from personalrm.errors import UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.people import example_users
from personalrm.preferences.users import User
from personalrm.testing import ScriptedLM, tiny_users
from personalrm.testing.skill import skilled

pytestmark = pytest.mark.slow


def people_of_two_tastes(n_users, n_pairs):
    """Couples who see the same pairs of the example people, one choosing the longer and one the shorter."""
    texts = [
        (pair.conversation, *sorted((pair.chosen, pair.rejected), key=len)) for user in example_users() for pair in user
    ]
    users = []
    for number in range(n_users):
        drawn = random.Random(number // 2).sample(texts, n_pairs)
        chosen = [(talk, short, long) if number % 2 else (talk, long, short) for talk, short, long in drawn]
        users.append(
            User(f"u{number}", tuple(PreferencePair(f"u{number}", *one, order_index=k) for k, one in enumerate(chosen)))
        )
    return users


@pytest.fixture(scope="module")
def evaluation():
    with Caller(ScriptedLM(skilled(0.85)), cache=Cache(":memory:")) as caller:
        return evaluate(hold_out(people_of_two_tastes(60, 14)), judge=ModelJudge(caller), n_shuffles=20)


@pytest.mark.parametrize("method", ["just_persona", "just_demonstrations", "persona_and_demonstrations"])
def test_knowing_the_person_beats_the_default(evaluation, method):
    assert evaluation[method].against_reference.low > 0.0
    assert evaluation[method].accuracy.accuracy > 0.75


def test_somebody_elses_prompt_is_no_better_than_none(evaluation):
    assert abs(evaluation["shuffled_user"].accuracy.accuracy - evaluation["default"].accuracy.accuracy) <= 0.02


def test_the_table_tells_users_pairs_and_position_consistency(evaluation):
    row = evaluation["persona_and_demonstrations"]
    assert (row.accuracy.n_users, row.accuracy.n_pairs, row.accuracy.n_unscored) == (60, 240, 0)
    assert row.position_consistency > 0.9


def test_replies_nobody_can_read_are_counted_as_unscored():
    def mumbling(messages):
        return "hm" if "day 6?" in messages[-1]["content"] else skilled(1.0)(messages)

    with Caller(ScriptedLM(mumbling), cache=Cache(":memory:")) as caller:
        row = evaluate(hold_out(tiny_users(6, 8)), judge=ModelJudge(caller), methods=["default"])["default"]
    assert (row.accuracy.n_unscored, row.accuracy.n_pairs) == (6, 12)


def test_an_unknown_method_is_one_sentence():
    with Caller(ScriptedLM()) as caller, pytest.raises(UnknownName, match="unknown method 'magic'"):
        evaluate(hold_out(tiny_users(2, 8)), judge=ModelJudge(caller), methods=["magic"])
