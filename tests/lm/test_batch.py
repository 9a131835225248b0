import threading

import pytest

from personalrm.errors import AccessRefused, BudgetSpent, ModelUnavailable, UnknownName, UnreadableReply
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.cache import Cache
from personalrm.lm.prices import Price
from personalrm.lm.protocol import Fault, Reply, Request, Sampling, Schema
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.preferences.messages import Message
from personalrm.testing import ScriptedLM

QUICK = Retry(base_s=0.001, max_pause_s=0.002)


def request(text="hello", user_id="u1", **sampling):
    return Request((Message("user", text),), Sampling(**sampling), stage="judge", user_id=user_id)


def ask(text="hello", read=lambda reply: reply.text, **fields):
    return Ask(lambda: request(text, **fields), read)


def echo(messages):
    return messages[-1]["content"].upper()


def fail_first(n, fault):
    return lambda request, earlier: fault if earlier < n else None


def test_outcomes_come_in_the_order_of_the_asks():
    with Caller(ScriptedLM(echo, latency_s=0.001)) as caller:
        assert [outcome.value for outcome in caller.ask_all([ask("a"), ask("b"), ask("c")])] == ["A", "B", "C"]


def test_nothing_to_ask_is_no_request():
    lm = ScriptedLM(echo)
    with Caller(lm) as caller:
        assert caller.ask_all([]) == []
    assert lm.requests == []


def test_equal_requests_under_way_are_sent_once():
    lm = ScriptedLM(echo, latency_s=0.01)
    with Caller(lm) as caller:
        assert [outcome.value for outcome in caller.ask_all([ask("a")] * 50)] == ["A"] * 50
    assert len(lm.requests) == 1


def test_no_more_than_max_in_flight_are_under_way():
    lm = ScriptedLM(echo, latency_s=0.005)
    with Caller(lm, limits=Limits(max_in_flight=3)) as caller:
        caller.ask_all([ask(str(k)) for k in range(20)])
    assert lm.most_in_flight == 3


def test_requests_are_built_when_their_turn_comes():
    built = []

    def build(k):
        built.append(k)
        return request(str(k))

    lm = ScriptedLM(echo, faults=lambda request, earlier: Fault("HTTP 401", "stop"))
    with Caller(lm, limits=Limits(max_in_flight=2)) as caller:
        caller.ask_all([Ask(lambda k=k: build(k), str) for k in range(50)])
    assert len(lm.requests) <= 2


@pytest.mark.parametrize("kind", ["HTTP 500", "time-out", "broken JSON"])
def test_a_transient_fault_is_tried_again_unchanged(kind):
    lm = ScriptedLM(echo, faults=fail_first(3, Fault(kind, "same")))
    with Caller(lm, retry=QUICK) as caller:
        assert caller.ask_all([ask("a")])[0].value == "A"
        assert caller.ledger.faults == {kind: 3}
    assert lm.seeds == [0, 0, 0, 0]


def test_attempts_have_a_ceiling_and_the_outcome_says_why():
    lm = ScriptedLM(echo, faults=fail_first(99, Fault("HTTP 500", "same")))
    with Caller(lm, retry=Retry(max_attempts=3, base_s=0.001)) as caller:
        outcome = caller.ask_all([ask("a")])[0]
    assert (outcome.value, outcome.reason, len(lm.requests)) == (None, "HTTP 500, after 3 attempts", 3)


def test_a_hopeless_request_is_sent_once():
    lm = ScriptedLM(echo, faults=fail_first(99, Fault("context too long", "never")))
    with Caller(lm, retry=QUICK) as caller:
        assert caller.ask_all([ask("a")])[0].reason == "context too long"
    assert len(lm.requests) == 1


def test_one_bad_request_does_not_stop_the_others():
    def only_b(request, _):
        return Fault("context too long", "never") if request.messages[-1].content == "b" else None

    with Caller(ScriptedLM(echo, faults=only_b)) as caller:
        assert [outcome.value for outcome in caller.ask_all([ask("a"), ask("b"), ask("c")])] == ["A", None, "C"]


def test_a_server_whose_queue_is_full_is_asked_until_it_has_room():
    """503 does not count while others are answered; from a server that answers nobody it does."""

    def full(request, earlier):
        return Fault("HTTP 503", "same", status=503) if request.messages[-1].content == "last" and earlier < 9 else None

    lm = ScriptedLM(echo, latency_s=0.002, faults=full)
    with Caller(
        lm, retry=Retry(max_attempts=2, base_s=0.001, max_pause_s=0.002), limits=Limits(max_in_flight=2)
    ) as caller:
        outcomes = caller.ask_all([ask("last"), *(ask(str(number)) for number in range(200))])
    assert all(outcome.value for outcome in outcomes)
    with Caller(ScriptedLM(echo, faults=fail_first(99, Fault("HTTP 503", "same", status=503))), retry=QUICK) as caller:
        assert caller.ask_all([ask("a")])[0].reason.startswith("HTTP 503, after 6 attempts")


def test_an_unreadable_reply_is_asked_again_with_another_seed_three_times():
    def read(_):
        raise UnreadableReply("no verdict")

    lm = ScriptedLM(echo)
    with Caller(lm, retry=QUICK) as caller:
        outcome = caller.ask_all([ask("a", read)])[0]
    assert outcome.reason == "unreadable: no verdict, after 4 attempts"
    assert len(set(lm.seeds)) == 4


def test_who_needs_all_outcomes_gets_the_reason_of_a_stop():
    refused = ScriptedLM(echo, faults=lambda request, earlier: Fault("HTTP 401", "stop", status=401))
    with Caller(refused, retry=QUICK) as caller, pytest.raises(AccessRefused):
        caller.ask_all_or_raise([ask("a"), ask("b")])
    with Caller(ScriptedLM(echo)) as caller:
        assert [outcome.value for outcome in caller.ask_all_or_raise([ask("a"), ask("b")])] == ["A", "B"]


def test_a_schema_of_a_choice_asks_for_the_reasoning_first():
    """The order of the properties is part of the key of kept answers."""
    assert Schema.of_choice("match", "answer", ("yes", "no")).text == (
        '{"type": "object", "properties": {"reasoning": {"type": "string"}, "answer": {"type": "string", '
        '"enum": ["yes", "no"]}}, "required": ["reasoning", "answer"], "additionalProperties": false}'
    )


def test_refused_access_stops_everything_and_says_what_to_do():
    lm = ScriptedLM(echo, latency_s=0.001, faults=lambda request, earlier: Fault("HTTP 401", "stop", status=401))
    with Caller(lm, limits=Limits(max_in_flight=4)) as caller:
        outcomes = caller.ask_all([ask(str(k)) for k in range(40)])
        assert isinstance(caller.stopped, AccessRefused)
    assert all(outcome.is_stopped for outcome in outcomes)
    assert len(lm.requests) <= 4


def test_a_server_that_was_never_there_ends_the_run():
    lm = ScriptedLM(echo, faults=fail_first(99, Fault("cannot connect", "same")))
    with Caller(lm, retry=Retry(max_attempts=2, base_s=0.001), limits=Limits(max_in_flight=2)) as caller:
        assert all(outcome.is_stopped for outcome in caller.ask_all([ask(str(k)) for k in range(20)]))
        assert "cannot be reached" in str(caller.stopped)
    assert len(lm.requests) <= 6


def test_ten_calls_of_budget_let_exactly_ten_leave_under_64_callers():
    lm = ScriptedLM(echo, latency_s=0.002)
    with Caller(lm, budget=Budget(max_calls=10), limits=Limits(max_in_flight=64)) as caller:
        threads = [
            threading.Thread(target=lambda k=k: caller.ask_all([ask(f"{k} {n}") for n in range(5)])) for k in range(64)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert isinstance(caller.stopped, BudgetSpent)
    assert len(lm.requests) == 10


def test_retries_count_against_the_budget():
    lm = ScriptedLM(echo, faults=fail_first(99, Fault("HTTP 500", "same")))
    with Caller(lm, budget=Budget(max_calls=3), retry=QUICK) as caller:
        caller.ask_all([ask("a")])
    assert len(lm.requests) == 3


FIVE = ("schema", "logprobs", "seed", "temperature", "max_tokens")


def refuses_five(request, _):
    refused = next((feature for feature in FIVE if feature not in request.without), None)
    return Fault("HTTP 400", "never", feature=refused) if refused else None


@pytest.mark.parametrize(("max_calls", "value", "n_requests"), [(6, "A", 6), (5, None, 5), (1, None, 1)])
def test_each_refused_feature_is_a_request_of_the_budget(max_calls, value, n_requests):
    lm = ScriptedLM(echo, faults=refuses_five)
    with Caller(lm, budget=Budget(max_calls=max_calls), retry=Retry(max_attempts=1)) as caller:
        assert caller.ask_all([ask("a")])[0].value == value
    assert len(lm.requests) == n_requests


def test_a_feature_that_was_left_out_and_is_refused_again_ends_the_request():
    lm = ScriptedLM(echo, faults=lambda request, earlier: Fault("HTTP 400", "never", feature="seed"))
    with Caller(lm) as caller:
        assert caller.ask_all([ask("a")])[0].reason == "HTTP 400"
    assert len(lm.requests) == 2


def test_a_request_that_is_moved_is_sent_again_within_the_budget_and_not_forever():
    lm = ScriptedLM(echo, faults=lambda request, earlier: Fault("redirect", "changed"))
    with Caller(lm, budget=Budget(max_calls=3)) as caller:
        assert caller.ask_all([ask("a")])[0].is_stopped
    assert len(lm.requests) == 3
    with Caller(ScriptedLM(echo, faults=lm._faults), retry=QUICK) as caller:
        assert "redirect" in caller.ask_all([ask("a")])[0].reason


def test_money_is_reserved_before_a_call_so_that_it_is_never_overspent():
    lm = ScriptedLM(echo, latency_s=0.002)
    price = Price(prompt=0.0, cached=0.0, completion=1000.0)
    with Caller(lm, budget=Budget(max_cost=1.0), price=price, limits=Limits(max_in_flight=64)) as caller:
        caller.ask_all([ask(str(k), max_tokens=100) for k in range(200)])
        assert caller.purse.cost <= 1.0
    assert len(lm.requests) >= 10


def test_an_unknown_price_refuses_a_ceiling_of_cost():
    with pytest.raises(UnknownName, match="the price of model 'scripted' is unknown"):
        Caller(ScriptedLM(), budget=Budget(max_cost=1.0))


def test_an_answer_is_paid_once_across_runs(tmp_path):
    for _ in range(2):
        lm = ScriptedLM(echo)
        with Caller(lm, cache=Cache(tmp_path / "cache.sqlite")) as caller:
            assert caller.ask_all([ask("a")])[0].value == "A"
    assert lm.requests == []
    assert caller.ledger.total.n_cached == 1


class Claimed(Cache):
    """A cache of which another process has the claim, and keeps ten other answers before this one."""

    n_looks = 0

    def claim(self, key):
        self.n_looks += 1
        if self.n_looks <= 10:
            self.keep(bytes([self.n_looks]) * 16, "u2", Reply("another"))
        else:
            self.keep(key, "u2", Reply("theirs"))
        return self.n_looks > 10


def test_another_process_is_waited_for_while_it_keeps_answers():
    """However slow the server is that it asks."""
    lm = ScriptedLM(echo)
    with Caller(lm, cache=Claimed(":memory:"), retry=Retry(max_total_s=0.001)) as caller:
        assert caller.ask_all([ask("a")])[0].value == "theirs"
    assert lm.requests == []


@pytest.mark.parametrize("other", [{"temperature": 0.5}, {"max_tokens": 7}, {"seed": 3}, {"top_logprobs": 2}])
def test_other_sampling_is_another_request(tmp_path, other):
    lm = ScriptedLM(echo)
    with Caller(lm, cache=Cache(tmp_path / "c")) as caller:
        caller.ask_all([ask("a"), ask("a", **other)])
    assert len(lm.requests) == 2


def test_another_server_is_another_request(tmp_path):
    for name in ("one", "two"):
        lm = ScriptedLM(echo, name=name)
        with Caller(lm, cache=Cache(tmp_path / "c")) as caller:
            caller.ask_all([ask("a")])
        assert len(lm.requests) == 1


def test_unscored_requests_are_asked_again_only_when_wished(tmp_path):
    def run(retry_unscored, faults=None):
        lm = ScriptedLM(echo, faults=faults)
        with Caller(lm, cache=Cache(tmp_path / "c"), retry=QUICK, retry_unscored=retry_unscored) as caller:
            return caller.ask_all([ask("a")])[0], len(lm.requests)

    hopeless = fail_first(99, Fault("context too long", "never"))
    assert run(False, hopeless)[1] == 1
    assert (run(False)[0].reason, run(False)[1]) == ("context too long", 0)
    assert (run(True)[0].value, run(False)[0].value) == ("A", "A")


def test_calls_and_tokens_are_told_by_stage_and_by_user():
    with Caller(ScriptedLM(echo)) as caller:
        caller.ask_all([ask("abcdefgh", user_id="u1"), ask("ijkl", user_id="u2"), ask("mnop", user_id="u2")])
        assert caller.ledger.by_stage["judge"].prompt_tokens == 4
        assert {user: account.n_calls for user, account in caller.ledger.by_user.items()} == {"u1": 1, "u2": 2}


def test_a_reader_with_a_bug_leaves_nobody_waiting():
    with Caller(ScriptedLM(echo)) as caller:
        assert caller.ask_all([ask("a", lambda reply: 1 / 0)])[0].is_stopped
        assert isinstance(caller.stopped, ModelUnavailable)


def test_it_works_inside_a_running_event_loop():
    import asyncio

    async def main():
        with Caller(ScriptedLM(echo)) as caller:
            return caller.ask_all([ask("a")])[0].value

    assert asyncio.run(main()) == "A"
