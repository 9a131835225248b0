"""No account of a server's makes a run cost more than it may, and none is lost."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalrm.errors import BudgetSpent
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.prices import Price
from personalrm.lm.protocol import Fault, Reply, Request, Sampling, Usage
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.lm.wire import read_response
from personalrm.preferences.messages import Message
from personalrm.testing import ScriptedLM

MOST_TOKENS = 100
PRICE = Price(prompt=10.0, cached=5.0, completion=1000.0)


def answer(usage, reason="stop"):
    choice = {"message": {"content": "yes"}, "finish_reason": reason}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def counted(**usage):
    return read_response(200, {}, answer(usage)).usage


class Accountant:
    """A model whose replies are bodies with the given accounts, one after the other."""

    name, identity = "accountant", "accountant"

    def __init__(self, usages, reasons=("stop",)):
        self.usages, self.reasons, self.sent = usages, reasons, []

    async def complete(self, request, *, seed):
        await asyncio.sleep(0)
        n = len(self.sent)
        self.sent.append(self.usages[n % len(self.usages)])
        return read_response(200, {}, answer(self.sent[-1], self.reasons[n % len(self.reasons)]))

    async def close(self):
        pass


def ask(n, text="Which? "):
    request = Request((Message("user", f"{text * 5}{n}"),), Sampling(max_tokens=MOST_TOKENS), stage="judge")
    return Ask(lambda: request, lambda reply: reply.text)


def spend(lm, n=40, max_cost=0.5, max_in_flight=8, **settings):
    budget, limits = Budget(max_cost=max_cost), Limits(max_in_flight=max_in_flight)
    with Caller(lm, budget=budget, price=PRICE, limits=limits, retry=Retry(max_attempts=1), **settings) as caller:
        caller.ask_all([ask(k) for k in range(n)])
        return caller


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, 2)),
        ({"prompt_tokens": 7.0, "completion_tokens": 2.0}, Usage(7, 2)),
        ({"prompt_tokens": "7", "completion_tokens": "2"}, Usage(7, 2)),
        ({"input_tokens": 7, "output_tokens": 2}, Usage(7, 2)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 5009}, Usage(7, 5002)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 50}}, Usage(7, 52)),
        ({"prompt_tokens": 7, "completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 50}}, Usage(7, 60)),
        ({"completion_tokens": 2, "total_tokens": 9}, Usage(7, 2)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(7, 2, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 500}}, Usage(7, 2, 7)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": []}, Usage(7, 2)),
        ({"prompt_tokens": 7}, Usage()),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage()),
        ({"prompt_tokens": -7, "completion_tokens": 2}, Usage()),
        ({"prompt_tokens": True, "completion_tokens": 2}, Usage()),
        ({"prompt_tokens": None, "completion_tokens": [2]}, Usage()),
    ],
)  # fmt: skip
def test_tokens_are_counted_under_every_name_or_not_at_all(usage, expected):
    assert counted(**usage) == expected


@pytest.mark.parametrize("usage", [None, {}, [], "7", {"prompt_tokens": float("nan")}, {"total_tokens": 0}])
def test_a_reply_without_a_count_costs_its_reservation(usage):
    caller = spend(Accountant([usage]), max_in_flight=1)
    n_calls, most = caller.ledger.total.n_calls, caller.purse.cost / caller.ledger.total.n_calls
    assert most == pytest.approx(PRICE.of(Usage(52, MOST_TOKENS)), rel=0.01)
    assert n_calls == int(0.5 / most)
    assert "for want of a count" in str(caller.stopped)


@pytest.mark.parametrize("reason", ["length", "content_filter", "error"])
def test_what_failed_after_an_answer_is_counted(reason):
    caller = spend(Accountant([{"prompt_tokens": 50, "completion_tokens": 10}], (reason,)), n=3)
    account = caller.ledger.total
    assert (account.n_unscored, account.prompt_tokens) == (3, 50 * account.n_calls)
    assert caller.purse.cost == pytest.approx(account.n_calls * PRICE.of(Usage(50, 10)))


def test_a_refusal_costs_nothing_and_a_breakdown_may_have_cost_all():
    cheap = spend(ScriptedLM(faults=lambda *_: Fault("HTTP 422", "never", status=422, usage=Usage())), n=1)
    dear = spend(ScriptedLM(faults=lambda *_: Fault("HTTP 500", "same", status=500)), n=1)
    assert (cheap.purse.cost, dear.purse.cost > 0.1) == (0.0, True)


def test_what_never_left_is_no_call():
    lm = ScriptedLM(faults=lambda request, earlier: Fault("cannot connect", "same") if earlier < 2 else None)
    with Caller(lm, budget=Budget(max_calls=1), retry=Retry(base_s=0.001)) as caller:
        assert caller.ask_all([ask(0)])[0].value is not None
        assert (caller.ledger.total.n_calls, caller.purse.n_calls) == (1, 1)


def test_a_run_waits_for_reservations_to_come_back():
    """Two reservations of 0.1 do not fit into 0.15, the calls themselves all do."""
    caller = spend(Accountant([{"prompt_tokens": 50, "completion_tokens": 2}]), n=12, max_cost=0.15)
    assert (caller.ledger.total.n_calls, isinstance(caller.stopped, BudgetSpent)) == (12, False)


def test_a_budget_that_is_spent_says_what_another_call_may_cost():
    caller = spend(Accountant([{"prompt_tokens": 50, "completion_tokens": 100}]))
    assert isinstance(caller.stopped, BudgetSpent)
    assert "a call may cost 0.1" in str(caller.stopped)


def test_thoughts_beyond_max_tokens_are_reserved_once_they_were_seen():
    usage = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 152}
    caller = spend(Accountant([usage | {"total_tokens": 252}]), max_cost=0.5)
    assert (caller.ledger.total.n_calls, caller.purse.cost <= 0.5) == (2, True)


AMOUNTS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, MOST_TOKENS), st.floats(0, MOST_TOKENS), st.text(max_size=3),
    st.integers(0, MOST_TOKENS).map(str), st.lists(st.integers(), max_size=1), st.just(float("inf")),
)  # fmt: skip
USAGES = st.none() | st.lists(st.none(), max_size=1) | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": AMOUNTS, "completion_tokens": AMOUNTS, "total_tokens": AMOUNTS, "input_tokens": AMOUNTS,
        "prompt_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"cached_tokens": AMOUNTS}),
        "completion_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": AMOUNTS}),
    },
)  # fmt: skip


def by_its_own_account(usage):
    """The least that a server can mean by an account: the sum of both sides, or the total where that is more."""

    def number(value):
        if isinstance(value, str):
            value = float(value) if value.isascii() and value.isdigit() else 0
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
        return value if is_number else 0

    if not isinstance(usage, dict):
        return 0.0
    prompt, completion = number(usage.get("prompt_tokens")), number(usage.get("completion_tokens"))
    completion = max(completion, number(usage.get("total_tokens")) - prompt if prompt else 0)
    cached = min(prompt, number((usage.get("prompt_tokens_details") or {}).get("cached_tokens")))
    return ((prompt - cached) * PRICE.prompt + cached * PRICE.cached + completion * PRICE.completion) / 1e6


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(USAGES, min_size=1, max_size=4), st.integers(1, 8), st.sampled_from(["stop", "length", "error"]))
def test_no_account_makes_a_run_cost_more_than_it_may(usages, max_in_flight, reason):
    lm = Accountant(usages, ("stop", reason))
    caller = spend(lm, n=12, max_cost=0.4, max_in_flight=max_in_flight)
    spent = sum(by_its_own_account(usage) for usage in lm.sent)
    assert spent <= caller.purse.cost + 1e-9
    assert spent <= 0.4 + 1e-9


def test_a_reply_is_settled_as_it_was_counted():
    lm = ScriptedLM(lambda messages: "yes " * 10)
    caller = spend(lm, n=1)
    assert caller.purse.cost == pytest.approx(PRICE.of(Usage(len("Which? ") * 5 // 4, 10)), rel=0.05)
    assert Reply("").usage == Usage()
