"""DSPy itself, asking through a caller of ours; runs where the extra is installed, like the tests of MIPROv2."""

import sys
import warnings
from importlib.util import find_spec

import pytest
from tests.fakes.dspy_layout import by_field, in_dspy_layout

from personalrm.errors import BudgetSpent, MissingExtra, ModelUnavailable
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.settings import Budget
from personalrm.lm.with_dspy import dspy_lm, load_dspy
from personalrm.testing import ScriptedLM
from personalrm.testing.skill import by_hash

needs_dspy = pytest.mark.skipif(
    find_spec("dspy") is None or find_spec("optuna") is None, reason="DSPy is not installed (extra optimize)"
)
ANSWERS = in_dspy_layout(by_hash, by_field({"answer": "Porto"}))


@pytest.fixture
def dspy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of DSPy's own code
        yield load_dspy()


def asked(dspy, caller, question="Where?", **how):
    with dspy.context(lm=dspy_lm(caller, **how)):
        return dspy.Predict("question -> answer")(question=question).answer


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dspy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'personalrm\[optimize\]'"):
        load_dspy()


@needs_dspy
@pytest.mark.slow
def test_a_program_is_answered_through_our_caller_and_kept_in_our_cache(dspy, tmp_path):
    lm, again = ScriptedLM(ANSWERS), ScriptedLM(ANSWERS)
    with Caller(lm, cache=Cache(tmp_path / "c")) as caller:
        assert asked(dspy, caller) == "Porto"
        assert caller.ledger.by_stage["dspy"].n_calls == 1
    with Caller(again, cache=Cache(tmp_path / "c")) as caller:
        assert asked(dspy, caller) == "Porto"
    assert (len(lm.requests), again.requests) == (1, [])


@needs_dspy
@pytest.mark.slow
@pytest.mark.usefixtures("dspy")
def test_temperature_length_and_rollouts_become_sampling_and_seed():
    lm = ScriptedLM(ANSWERS)
    with Caller(lm) as caller:
        model = dspy_lm(caller, max_tokens=77, seed=5)
        for options in ({}, {"temperature": 1.0, "rollout_id": 1}, {"temperature": 1.0, "rollout_id": 2}):
            model(messages=[{"role": "user", "content": "[[ ## answer ## ]]"}], **options)
    samplings = [request.sampling for request in lm.requests]
    assert [(s.temperature, s.max_tokens) for s in samplings] == [(0.0, 77), (1.0, 77), (1.0, 77)]
    assert samplings[0].seed == 5 and len({s.seed for s in samplings}) == 3


@needs_dspy
@pytest.mark.slow
def test_the_budget_holds_for_dspy_too(dspy):
    with Caller(ScriptedLM(ANSWERS), budget=Budget(max_calls=1)) as caller:
        asked(dspy, caller)
        with pytest.raises(BudgetSpent):
            asked(dspy, caller, "And then?")


@needs_dspy
@pytest.mark.slow
def test_a_stopped_caller_asks_nothing(dspy):
    lm = ScriptedLM(ANSWERS)
    with Caller(lm) as caller:
        caller.stop(ModelUnavailable("interrupted"))
        with pytest.raises(ModelUnavailable, match="interrupted"):
            asked(dspy, caller)
    assert lm.requests == []
