"""Servers as bug reports describe them: each kind is mended or told, none is guessed at."""

from contextlib import contextmanager

import pytest

from personalrm.errors import AccessRefused
from personalrm.judging.checking import check_model
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.preferences.messages import Message
from personalrm.preferences.verdicts import Question
from personalrm.testing.fake_server import FakeServer, Limited
from personalrm.testing.faults import Faults
from personalrm.testing.skill import skilled

QUICK = Retry(base_s=0.001, max_pause_s=0.002)
ASKED = [
    Question("u", (Message("user", f"How do I get there, on day {n}?"),), "x" * (20 + n), "y" * (90 - n))
    for n in range(6)
]


@contextmanager
def judge_of(odd, **settings):
    """A judge behind a server with an oddity, and the server's log."""
    with FakeServer(skilled(1.0), faults=Faults((), odd=odd)) as server:
        lm = open_model(ModelName("fake", server.url))
        with Caller(lm, retry=QUICK, cache=Cache(":memory:"), **settings) as caller:
            yield ModelJudge(caller), server.log


def choices(verdicts):
    return [(verdict.choice, verdict.probability) for verdict in verdicts]


@pytest.fixture(scope="module")
def expected():
    with judge_of(None) as (judge, _):
        return choices(judge.judge(ASKED))


@pytest.mark.parametrize(
    "odd",
    ["content parts", "thoughts in channels", "thoughts of gemma", "half a character", "finished by end_turn",
     "streams unasked", "Ġ", "▁", "counts in floats"],
)  # fmt: skip
def test_an_answer_in_another_form_is_the_same_answer(expected, odd):
    with judge_of(odd) as (judge, log):
        assert choices(judge.judge(ASKED)) == expected
        assert log.n_requests == len(ASKED)


@pytest.mark.parametrize(
    ("odd", "refused", "n_more"),
    [
        ("no log-probabilities 403", {"logprobs"}, 1),
        ("no log-probabilities 500", {"logprobs"}, 1),
        ("echoes top_logprobs", {"logprobs"}, 1),
        ("no system turn", {"roles"}, 1),
        ("only streams", {"whole"}, 1),
        ("now and then not JSON", set(), 3),
    ],
)
def test_what_a_server_refuses_is_left_out_and_nothing_else(expected, odd, refused, n_more):
    with judge_of(odd, limits=Limits(max_in_flight=1)) as (judge, log):
        assert [verdict.choice for verdict in judge.judge(ASKED)] == [choice for choice, _ in expected]
        assert (judge.caller.refused, log.n_requests) == (refused, len(ASKED) + n_more)
        assert judge.caller.ledger.total.n_calls == log.n_requests


@pytest.mark.parametrize(
    ("odd", "reason", "n_attempts"),
    [
        ("finished by an error", "finish_reason 'error', after 6 attempts", 6),
        ("finished by max_tokens", "cut off at max_tokens, after 4 attempts", 4),
        ("too long", "context too long ('the request exceeds the available context size')", 1),
    ],
)
def test_what_is_no_whole_answer_is_told_and_not_kept(odd, reason, n_attempts):
    with judge_of(odd) as (judge, log):
        assert {verdict.unscored_reason for verdict in judge.judge(ASKED)} == {reason}
        assert log.n_requests == n_attempts * len(ASKED)
        assert judge.caller.cache.report().n_answers == 0


def test_an_answer_among_the_thoughts_is_told_with_what_to_do_and_counted():
    with judge_of("answer among thoughts") as (judge, _):
        reason = judge.judge(ASKED)[0].unscored_reason
        assert "the answer stands in reasoning_content" in reason
        assert "turn the server's reasoning parser off" in reason
        assert judge.caller.ledger.total.completion_tokens > 0


def test_a_request_that_is_refused_by_itself_costs_no_other_its_schema():
    with judge_of("now and then too long", limits=Limits(max_in_flight=1)) as (judge, _):
        reasons = [verdict.unscored_reason for verdict in judge.judge(ASKED)]
        assert sorted(reasons) == ["", "", "", "", *2 * ['HTTP 422 ("messages exceed the tenant\'s size limit")']]
        assert judge.caller.refused == frozenset()


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        ("no quota", "HTTP 429 ('You exceeded your current quota, please check your plan and billing details.'); its quota"),
        ("no credits", "error 402 ('This request requires more credits, or fewer max_tokens.'); its quota or credit"),
        ("no such path", "('Unexpected endpoint or method. (POST /chat/completions)'); check the base URL"),
        ("short context", "; its whole context is 1024 tokens: pass a --max-tokens well below, then run"),
    ],
)  # fmt: skip
def test_where_nothing_can_follow_the_run_stops_at_once(odd, sentence):
    with judge_of(odd, limits=Limits(max_in_flight=1)) as (judge, log):
        with pytest.raises(AccessRefused) as caught:
            judge.judge(ASKED)
        assert log.n_requests == 1
    assert sentence in str(caught.value)


def test_a_ceiling_of_calls_counts_what_is_refused():
    with judge_of("only streams", budget=Budget(max_calls=1)) as (judge, log):
        judge.caller.ask_all(judge.asks("judge", ASKED, ()))
        assert (log.n_requests, judge.caller.purse.n_calls) == (1, 1)


@pytest.mark.parametrize(("odd", "n_cut"), [("cuts prompts", len(ASKED)), (None, 0)])
def test_prompts_that_a_server_cuts_are_found(odd, n_cut):
    with judge_of(odd) as (judge, _):
        judge.judge(ASKED)
        assert judge.caller.ledger.n_cut == n_cut


@pytest.mark.parametrize(
    ("odd", "lacks"),
    [
        (None, set()),
        ("no system turn", {"takes_system"}),
        ("no log-probabilities 403", {"gives_logprobs"}),
        ("counts nothing", {"counts_tokens"}),
    ],
)
def test_check_sends_what_a_fit_sends(odd, lacks):
    with judge_of(odd) as (judge, _):
        check = check_model(judge)
    assert check.problem == ""
    abilities = ("takes_schema", "gives_logprobs", "counts_tokens", "takes_seed", "takes_system")
    assert {ability for ability in abilities if not getattr(check, ability)} == lacks


def test_check_says_why_there_is_no_answer():
    with judge_of("too long") as (judge, _):
        assert check_model(judge).problem == "context too long ('the request exceeds the available context size')"


def test_check_tells_context_and_slots_where_the_server_does():
    server = FakeServer(skilled(1.0), limited=Limited(slots=3, tells_slots=True))
    with server, Caller(open_model(ModelName("fake", server.url))) as caller:
        check = check_model(ModelJudge(caller))
    assert (check.context_tokens, check.n_slots) == (8192, 3)
