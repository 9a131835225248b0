"""One conformance suite over every row of the table of methods, with the embedded engine and with a model."""

from pathlib import Path

import numpy as np
import pytest
from tests.fakes.outcomes import outcome_of

from personalrm.bench.methods.embedded import Engine
from personalrm.bench.methods.method import Judgement, Knowledge, judge_shuffled, judge_targets
from personalrm.bench.methods.model import Inductions
from personalrm.bench.methods.table import METHODS, Tools, make_method
from personalrm.datasets.targets import hold_out
from personalrm.errors import BadInput, NotFitted, UnknownName
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.preferences.reading.surveys import Survey
from personalrm.preferences.users import User
from personalrm.testing import ScriptedLM, tiny_users
from personalrm.testing.skill import skilled

HELD = hold_out(tiny_users(6, 8))
USERS = list(HELD.context.values())
SURVEYS = {f"u{n}": Survey(f"u{n}", {"taste": "longer" if n % 2 == 0 else "shorter"}) for n in range(5)}
SETTINGS = InductionSettings(n_trials=2)
ROWS = [
    (name, engine)
    for name, entry in METHODS.items()
    for engine, make in (("alone", entry.alone), ("embedded", entry.embedded), ("model", entry.model))
    if make is not None
]


@pytest.fixture
def judge():
    with Caller(ScriptedLM(skilled(1.0)), cache=Cache(":memory:")) as caller:
        yield ModelJudge(caller)


@pytest.fixture(params=ROWS, ids=[f"{name}-{engine}" for name, engine in ROWS])
def method(request, judge):
    name, engine = request.param
    tools = Tools(Engine(), settings=SETTINGS)
    if engine == "model":
        tools = Tools(Engine(), judge, distilled=Inductions(judge, SETTINGS), settings=SETTINGS)
    method = make_method(name, tools)
    method.learn(HELD, SURVEYS)
    return method


def outcomes(method, users=USERS):
    return judge_targets(method, method.know(users), HELD.targets)


def test_everybody_is_known_in_order_and_nothing_private_is_printed(method):
    known = method.know(USERS)
    assert [one.user_id for one in known] == [user.user_id for user in USERS]
    assert not any("train" in repr(one) for one in known)


def test_every_pair_is_judged_in_orders_or_by_a_margin(method):
    judged = outcomes(method)
    assert len(judged) == len(HELD.targets)
    assert all((one.margin is None) != (one.chosen_first is None) for one in judged)
    assert not outcome_of(judged).unscored.any()


def test_the_same_pair_is_judged_alike_in_any_company(method):
    known = {one.user_id: one for one in method.know(USERS)}
    items = [(known[pair.user_id], pair) for pair in HELD.targets]
    alone = [method.judge([item])[0] for item in items[:3]]
    turned = method.judge(items[::-1])[::-1]
    assert [repr(one) for one in turned[:3]] == [repr(one) for one in alone]


def test_turning_a_pair_around_turns_its_judgement_around(method):
    known = {one.user_id: one for one in method.know(USERS)}
    as_is = outcome_of(method.judge([(known[pair.user_id], pair) for pair in HELD.targets])).margins
    turned = outcome_of(method.judge([(known[pair.user_id], pair.reversed()) for pair in HELD.targets])).margins
    assert np.allclose(as_is, -turned, atol=1e-9)


def test_a_user_without_context_is_judged_like_anybody(method):
    known = method.know([User(user.user_id, ()) for user in USERS])
    assert len(judge_targets(method, known, HELD.targets)) == len(HELD.targets)


def test_nothing_to_judge_is_no_judgement(method):
    assert method.judge([]) == []
    assert method.know([]) == []


NO_CLAIM = ("just_persona", "embedded")
"""Six people are too few for a sentence the engine would stand by."""
PERSONAL = [row for row in ROWS if METHODS[row[0]].is_personal and row != NO_CLAIM]


@pytest.mark.parametrize(("name", "engine"), PERSONAL)
def test_a_personal_row_is_right_and_with_somebody_elses_knowledge_is_not(name, engine, judge):
    """Half of the users like the longer completion; a derangement gives most of them the wrong half."""
    tools = Tools(Engine(), judge if engine == "model" else None, distilled=Inductions(judge, SETTINGS))
    method = make_method(name, tools)
    method.learn(HELD, SURVEYS)
    known = method.know(USERS)
    own = outcome_of(judge_targets(method, known, HELD.targets)).margins
    other = [outcome_of(draw).margins for draw in judge_shuffled(method, known, HELD.targets, 20, seed=0)]
    assert (own > 0).mean() > (np.array(other) > 0).mean() + 0.2


def test_an_unknown_method_and_one_on_the_wrong_engine_are_refused(judge):
    with pytest.raises(UnknownName, match="unknown method 'magic'"):
        make_method("magic", Tools())
    with pytest.raises(BadInput, match="'memory' runs on a language model"):
        make_method("memory", Tools())
    with pytest.raises(BadInput, match="'personal' runs on the embedded engine"):
        make_method("personal", Tools(judge=judge))
    with pytest.raises(BadInput, match="persona prompt of another model"):
        make_method("just_persona_distill", Tools(judge=judge))


def test_the_engine_must_learn_before_it_judges():
    method = make_method("personal", Tools())
    with pytest.raises(NotFitted, match="learn before"):
        method.judge([(Knowledge("u0", None), HELD.targets[0])])


def test_a_user_without_a_survey_is_named(judge):
    method = make_method("demographics", Tools(judge=judge))
    method.learn(HELD, SURVEYS)
    assert [one.user_id for one in method.know(USERS) if one.note] == ["u5"]


def test_rows_with_the_same_prompts_are_induced_once(judge):
    tools = Tools(Engine(), judge, Inductions(judge, SETTINGS), settings=SETTINGS)
    make_method("persona_and_demonstrations", tools).know(USERS)
    n_requests = len(judge.caller.lm.requests)
    make_method("just_persona", tools).know(USERS)
    assert len(judge.caller.lm.requests) == n_requests


def test_a_judge_that_fails_on_one_pair_leaves_it_unscored_with_the_reason():
    def mumbling(messages):
        return "hm" if "day 7?" in messages[-1]["content"] else skilled(1.0)(messages)

    with Caller(ScriptedLM(mumbling)) as caller:
        judged = outcomes(make_method("default", Tools(judge=ModelJudge(caller))))
    unscored = [one for one in judged if one.unscored]
    assert len(unscored) == 6
    assert all((one.chosen_first, one.chosen_second, one.margin) == (None, None, None) for one in unscored)


def test_equal_probabilities_in_both_orders_are_a_tie_whatever_their_last_digit():
    judged = [Judgement(chosen_first=p, chosen_second=1.0 - p) for p in (0.1, 0.3, 0.7, 1 / 3)]
    assert outcome_of(judged).margins.tolist() == [0.0, 0.0, 0.0, 0.0]


def test_a_margin_that_is_missing_is_unscored():
    outcome = outcome_of([Judgement(margin=1.0), Judgement(unscored="no embedding"), Judgement(margin=-2.0)])
    assert (outcome.n_unscored, outcome.orders, outcome.correct.tolist()) == (1, None, [1.0, 0.5, 0.0])


def test_every_row_is_in_the_docs():
    page = (Path(__file__).parents[3] / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in page] == []
