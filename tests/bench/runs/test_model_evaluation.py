"""A judge of known skill: the rows of the table come out as its rule says they must."""

import random
from dataclasses import asdict

import pytest

from personalrm.bench.runs.evaluation import evaluate
from personalrm.datasets.targets import hold_out
from personalrm.errors import NoScoredPairs, UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.preferences.messages import digest
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
        # Three candidate prompts a user: with the default ten every accuracy is the same, in a third of the calls.
        held_out = hold_out(people_of_two_tastes(60, 14))
        return evaluate(held_out, judge=ModelJudge(caller), n_shuffles=20, trials=3)


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


def asked(seed, judge_seed, **more):
    """Every request of an evaluation in 16 digits, and how many there are."""
    lm = ScriptedLM(skilled(0.8))
    with Caller(lm, cache=Cache(":memory:")) as caller:
        judge = ModelJudge(caller, JudgeOptions(seed=judge_seed))
        evaluate(hold_out(tiny_users(4, 8)), judge=judge, trials=3, seed=seed, **more)
    requests = [
        digest([asdict(message) for message in request.messages], asdict(request.sampling)) for request in lm.requests
    ]
    return len(requests), digest(*sorted(requests))


@pytest.mark.parametrize(
    ("seed", "judge_seed", "methods", "before"),
    [
        (0, 0, None, (160, "df36a835d68b4777")),
        (3, 7, None, (152, "0cbbfb3fec16d62c")),
        (1, 0, ["shuffled_user"], (138, "6f3dd431e6db6a5d")),
    ],
)
def test_what_is_asked_is_what_was_asked_before_an_evaluation_became_a_run(seed, judge_seed, methods, before):
    """So that answers in old caches serve: the seed of the server is its own, one control is judged, none of equals."""
    assert asked(seed, judge_seed, methods=methods) == before


def test_one_user_alone_has_no_shuffled_row_and_a_note_says_so():
    with Caller(ScriptedLM(skilled()), cache=Cache(":memory:")) as caller:
        evaluation = evaluate(hold_out(tiny_users(1, 8)), judge=ModelJudge(caller), trials=2)
    assert "shuffled_user" not in [row.method for row in evaluation.rows]
    assert len(evaluation.notes) == 1


def test_a_row_of_which_nothing_can_be_read_is_refused():
    with (
        Caller(ScriptedLM(lambda messages: "hm"), cache=Cache(":memory:")) as caller,
        pytest.raises(NoScoredPairs, match="none of 4 pairs was scored"),
    ):
        evaluate(hold_out(tiny_users(2, 8)), judge=ModelJudge(caller), methods=["default"])
