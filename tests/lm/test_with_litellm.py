"""LiteLLM itself against the fake server; runs where the extra is installed."""

import asyncio
import json
import socket
from importlib.util import find_spec

import pytest

from personalrm.errors import AccessRefused, ModelUnavailable, UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.protocol import Fault, Request
from personalrm.lm.settings import Retry
from personalrm.preferences.messages import Message
from personalrm.preferences.verdicts import Question
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.faults import Faults
from personalrm.testing.skill import by_hash, skilled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("litellm") is None, reason="LiteLLM is not installed (extra litellm)"),
]
NAME = "litellm/openai/fake"
ASKED = Request((Message("system", "Judge."), Message("user", "Which?")))


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "PERSONALRM_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def question(number):
    return Question("u", (Message("user", f"{number}?"),), f"Short {number}.", f"A longer one, number {number}.")


def judged(url, n=30, **settings):
    with Caller(open_model(ModelName(NAME, url)), cache=Cache(":memory:"), **settings) as caller:
        return ModelJudge(caller).judge([question(number) for number in range(n)])


def attempt(server_url, **how):
    async def once():
        lm = open_model(ModelName(NAME, server_url, **how))
        try:
            return await lm.complete(ASKED, seed=0)
        finally:
            await lm.close()

    return asyncio.run(once())


def fault_of(server_url, **how):
    with pytest.raises(Fault) as caught:
        attempt(server_url, **how)
    return caught.value


def test_a_judge_through_litellm_says_what_one_over_http_says():
    with FakeServer(by_hash) as server:
        over_http = ModelJudge(Caller(open_model(ModelName("fake", server.url))))
        expected = over_http.judge([question(number) for number in range(10)])
        over_http.caller.close()
        assert judged(server.url, 10) == expected


def test_log_probabilities_come_through():
    with FakeServer(skilled(1.0)) as server:
        assert judged(server.url, 1)[0].probability == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize(
    "kind",
    ["429 seconds", "500", "529", "reset before headers", "reset mid-body", "garbage", "HTML", "empty", "truncated JSON",
     "error with 200", "empty choices", "null", "length", "content filter", "refusal", "contradictory label"],
)  # fmt: skip
def test_transient_faults_change_no_verdict(kind):
    quick = Retry(base_s=0.01)
    with FakeServer(by_hash) as server:
        expected = judged(server.url)
    with FakeServer(by_hash, faults=Faults(kinds=(kind,), seed=3)) as server:
        assert judged(server.url, retry=quick) == expected
        assert server.log.statuses[kind] > 0


@pytest.mark.parametrize(
    ("kind", "told", "again"),
    [
        ("null", "null content", "reseeded"),
        ("length", "cut off at max_tokens", "reseeded"),
        ("refusal", "refusal", "reseeded"),
        ("empty choices", "empty choices", "same"),
        ("garbage", "broken JSON", "same"),
        ("reset before headers", "connection broke", "same"),
    ],
)
def test_a_bad_reply_is_a_fault_with_its_kind(kind, told, again):
    with FakeServer(faults=Faults(kinds=(kind,), rate=1.0)) as server:
        fault = fault_of(server.url)
    assert (fault.kind, fault.again) == (told, again)


def test_one_attempt_is_one_request():
    with FakeServer(faults=Faults(kinds=("500",), rate=1.0)) as server:
        assert fault_of(server.url).status == 500
        assert server.log.n_requests == 1


def test_retry_after_comes_through():
    with FakeServer(faults=Faults(kinds=("429 seconds",), rate=1.0), patience_s=0.25) as server:
        assert fault_of(server.url).retry_after_s == 0.25


def test_a_refused_feature_is_left_out_from_then_on():
    with FakeServer(skilled(1.0), logprobs=False, takes_schema=False) as server:
        assert all(verdict.is_scored for verdict in judged(server.url, 5, retry=Retry(max_attempts=1)))


def test_a_context_that_is_too_long_is_not_tried_again():
    with FakeServer(faults=Faults(kinds=(), too_long=lambda prompt: True)) as server:
        fault = fault_of(server.url)
    assert (fault.kind, fault.again) == ("context too long", "never")


def test_a_slow_server_is_a_time_out():
    with FakeServer(latency_s=1.0) as server:
        assert fault_of(server.url, timeout_s=0.2).kind == "time-out"


def test_a_refused_key_stops_the_run():
    with FakeServer(faults=Faults(kinds=(), no_access_after=0)) as server, pytest.raises(AccessRefused):
        judged(server.url)


def test_a_dead_server_is_named_and_stops_the_run():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        assert fault_of(url).kind == "cannot connect"
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            judged(url, 3, retry=Retry(max_attempts=2, base_s=0.01))


def heads_sent(**how):
    """Header lines of the requests that reach a server which hangs up."""
    lines = []

    async def listen(reader, writer):
        lines.extend((await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines())
        writer.close()

    async def ask():
        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            lm = open_model(ModelName(NAME, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", **how))
            with pytest.raises(Fault):
                await lm.complete(ASKED, seed=0)
            await lm.close()

    asyncio.run(ask())
    return lines


def test_another_server_never_gets_openais_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert [line for line in heads_sent() if line.startswith("authorization")] == ["authorization: bearer none"]


def test_our_key_and_extra_headers_are_sent(monkeypatch):
    monkeypatch.setenv("PERSONALRM_API_KEY", "sk-ours")
    assert {"authorization: bearer sk-ours", "x-team: a"} <= set(heads_sent(headers={"X-Team": "a"}))


def test_nothing_is_printed_and_no_prompt_is_in_an_error(capfd):
    with FakeServer(faults=Faults(kinds=("500",), rate=1.0)) as server:
        fault = fault_of(server.url)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Which?" not in printed.err + str(fault) + repr(fault.__cause__)


def test_tenant_url_body_and_model_are_its_identity_and_the_key_is_not(monkeypatch):
    monkeypatch.setenv("PERSONALRM_API_KEY", "sk-secret")
    lm = open_model(ModelName(NAME, "http://localhost:1/v1/", body={"top_k": 1}, tenant="t"))
    assert json.loads(lm.identity) == ["litellm", "t", "http://localhost:1/v1", "openai/fake", {"top_k": 1}]
    assert (lm.name, "sk-secret" in repr(lm.endpoint)) == (NAME, False)


def test_the_extra_body_is_sent():
    with FakeServer(by_hash) as server:
        plain, more = attempt(server.url), attempt(server.url, body={"top_p": 0.5})
        assert plain.text == more.text
        assert server.summary()["calls"] == 2  # bodies that differ


def test_a_base_url_with_a_login_is_refused_without_it():
    with pytest.raises(UnknownName) as caught:
        open_model(ModelName(NAME, "http://user:secret@host/v1"))
    assert "secret" not in str(caught.value)
