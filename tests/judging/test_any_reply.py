"""One bad reply costs that reply alone, whatever is in it: nothing is raised, nothing is kept that cannot be read."""

import contextlib
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personalrm.errors import UnreadableReply
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.cache import Cache
from personalrm.lm.prices import Price
from personalrm.lm.protocol import Fault, Request
from personalrm.lm.settings import Retry
from personalrm.lm.wire import read_response
from personalrm.preferences.messages import Message
from personalrm.preferences.verdicts import PersonaQuestion, Question
from personalrm.prompts.persona_questions import read_concept
from personalrm.prompts.replies import read_persona, read_verdict, read_yes_or_no
from personalrm.testing import ScriptedLM

ONCE = Retry(max_attempts=1, max_rereads=0)
QUESTION = Question("u", (Message("user", "Which?"),), "a", "b")
TEXTS = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    ['{"choice": "first"}', '{"reasoning": "\ud800", "choice": "first"}', '{"claims": [{"text": "Likes \udfff."}]}',
     '{"choice": "second", "hypotheses": [1, "\0"]}', "<think>", "</think> B", '{"claims": [["x"], {"text": 1}]}']
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**400, 10**401) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NUMBERS = st.floats() | st.integers() | st.just(10**400) | st.none() | TEXTS


def maybe(right):
    return right | VALUES


LISTED = st.lists(maybe(st.fixed_dictionaries({}, optional={"token": maybe(TEXTS), "logprob": NUMBERS})), max_size=3)
ROWS = st.fixed_dictionaries(
    {"token": maybe(st.sampled_from(["first", "Ġsecond", '"'])), "logprob": NUMBERS},
    optional={"top_logprobs": maybe(LISTED)},
)
CHOICES = st.fixed_dictionaries(
    {"message": maybe(st.fixed_dictionaries({"content": maybe(TEXTS)}))},
    optional={
        "finish_reason": maybe(st.sampled_from(["stop", "length", "error"])),
        "logprobs": maybe(st.fixed_dictionaries({"content": maybe(st.lists(ROWS, max_size=4))})),
    },
)
COUNTS = st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens"]), NUMBERS)
BODIES = st.fixed_dictionaries(
    {"choices": maybe(st.lists(maybe(CHOICES), min_size=1, max_size=2))},
    optional={"usage": maybe(COUNTS), "model": VALUES, "error": VALUES},
)


class Sending:
    """A model that answers everything with one body."""

    name, identity = "sending", "sending"

    def __init__(self, body):
        self.body, self.n_requests = body, 0

    async def complete(self, request, *, seed):
        self.n_requests += 1
        return read_response(200, {}, self.body)

    async def close(self):
        pass


def answers_of(lm, cache):
    """Verdict and persona, as they would be written."""
    with Caller(lm, cache=cache, retry=ONCE, price=Price(1.0, 1.0, 1.0)) as caller:
        judge = ModelJudge(caller)
        verdict, persona = judge.judge([QUESTION])[0], judge.describe([PersonaQuestion("u", ())])[0]
        assert caller.stopped is None
    told = [verdict.choice, verdict.probability, verdict.reasoning, verdict.unscored_reason, persona.text, persona.note]
    json.dumps(told, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return told


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(BODIES | VALUES)
def test_any_json_is_an_answer_or_a_reason(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "cache.sqlite"
    first = answers_of(Sending(json.dumps(content).encode()), Cache(path))
    again = Sending(b"")
    assert answers_of(again, Cache(path)) == first
    assert again.n_requests == 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda raw: b"data: " + raw + b"\n\ndata: [DONE]\n\n"))
def test_any_bytes_are_a_reply_or_a_fault(body):
    with contextlib.suppress(Fault):
        assert read_response(200, {}, body).text.strip()


def test_a_kept_answer_that_no_reader_of_today_can_read_is_asked_again(tmp_path):
    request = Request((Message("user", "?"),))
    with Caller(ScriptedLM(lambda messages: "B"), cache=Cache(tmp_path / "c")) as caller:
        caller.ask_all([Ask(lambda: request, lambda reply: reply.text)])
    lm = ScriptedLM(lambda messages: '{"choice": "first"}')
    with Caller(lm, cache=Cache(tmp_path / "c")) as caller:

        def read(reply):
            assert caller.stopped is None
            return json.loads(read_persona_or_json(reply.text))["choice"]

        outcome = caller.ask_all([Ask(lambda: request, read)])[0]
    assert (outcome.value, len(lm.requests)) == ("first", 1)


def read_persona_or_json(text):
    read_verdict(text)
    if not text.startswith("{"):
        read_persona(text, ())  # raises UnreadableReply
    return text


LONG_ONES = [
    "<think>" * 28_000,
    "<think>" * 28_000 + "</think>" * 28_000 + "B",
    "</think>" * 50_000 + "B",
    '{"a":' * 20_000,
    ('{"a":' * 900 + "x") * 40,
    "{" * 300_000,
    '{"choice": ' * 50_000,
    "choice:" + " " * 200_000 + "x",
    "choice: " * 50_000,
    "answer is " * 50_000,
    "reasoning:" + "\n" * 200_000 + "x",
    "reasoning: " * 50_000,
    "[[ ## " * 50_000,
    "persona:" + "\n " * 100_000,
    "persona:" + "a. " * 100_000,
    "<|channel|>analysis" * 20_000,
    "the " * 100_000,
    " " * 500_000 + "B",
    "disagree" + "*" * 200_000,
    "x" * 2_000_000,
]


@pytest.mark.parametrize("text", LONG_ONES, ids=lambda text: f"{text[:20]!r}")
@pytest.mark.parametrize("read", [read_verdict, read_yes_or_no, lambda text: read_persona(text, ()), read_concept])
def test_reading_takes_time_by_length_alone(read, text):
    started = time.process_time()
    with contextlib.suppress(UnreadableReply):
        read(text)
    assert time.process_time() - started < 2.0
