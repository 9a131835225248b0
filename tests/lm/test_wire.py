import email.utils
import json
import time
from dataclasses import replace

import pytest

from personalrm.lm.protocol import Fault, Request, Sampling, Schema, Usage
from personalrm.lm.refusals import retry_after
from personalrm.lm.wire import encode_request, read_response, request_body
from personalrm.preferences.messages import Message

ASKED = Request(
    (Message("system", 'be "kind"\n'), Message("user", "héllo \u2028 😀")),
    Sampling(max_tokens=9, top_logprobs=3),
    Schema("verdict", {"type": "object"}),
)


def body(message=None, **choice):
    chosen = {"message": message or {"role": "assistant", "content": "yes"}, "finish_reason": "stop"} | choice
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    return json.dumps({"model": "m-1", "choices": [chosen], "usage": usage}).encode()


def test_bytes_and_body_say_the_same():
    extra = {"seed": 4, "top_k": 1}
    assert json.loads(encode_request(ASKED, "m", extra=extra)) == request_body(ASKED, "m", extra=extra)


def test_a_refused_feature_is_left_out():
    sent = request_body(replace(ASKED, without=frozenset({"schema", "logprobs"})), "m")
    assert sent.keys() == {"model", "messages", "temperature", "max_tokens"}


def test_newer_names_are_used_where_the_server_wants_them():
    sent = request_body(replace(ASKED, without=frozenset({"max_tokens", "temperature"})), "m")
    assert (sent["max_completion_tokens"], "max_tokens" in sent, "temperature" in sent) == (9, False, False)


def test_a_completion_is_read_with_its_usage():
    reply = read_response(200, {}, body())
    assert (reply.text, reply.model, reply.usage) == ("yes", "m-1", Usage(7, 2, 5))


def test_malformed_log_probabilities_are_no_fault():
    assert read_response(200, {}, body(logprobs={"content": [{"token": 1}]})).tokens == ()


@pytest.mark.parametrize(
    ("content", "kind", "again"),
    [
        (b"", "empty body", "same"),
        (b"<html></html>", "HTML", "same"),
        (b"\x00\xff\x01", "broken JSON", "same"),
        (body()[:-9], "broken JSON", "same"),
        (b"[" * 100_000, "broken JSON", "same"),
        (b"[]", "not a completion", "same"),
        (b"{}", "not a completion", "same"),
        (b'{"choices": []}', "empty choices", "same"),
        (b'{"choices": {"a": 1}}', "not a completion", "same"),
        (b'{"error": {"message": "overloaded"}}', "error with status 200", "same"),
        (b'{"error": {"code": "invalid_api_key"}}', "error with status 200", "stop"),
        (body({"content": None}), "null content", "reseeded"),
        (body({"content": "  "}), "empty content", "reseeded"),
        (body({"content": None, "refusal": "no"}), "refusal", "reseeded"),
        (body(finish_reason="length"), "cut off at max_tokens", "reseeded"),
        (body(finish_reason="content_filter"), "content filter", "reseeded"),
    ],
)
def test_a_body_that_is_no_answer_is_a_fault(content, kind, again):
    with pytest.raises(Fault) as caught:
        read_response(200, {}, content)
    assert (caught.value.kind, caught.value.again) == (kind, again)


@pytest.mark.parametrize(
    ("status", "content", "kind", "again"),
    [
        (500, b"", "HTTP 500", "same"),
        (529, b"", "HTTP 529", "same"),
        (401, b"", "HTTP 401", "stop"),
        (404, b"no such model", "HTTP 404", "stop"),
        (400, b"bad", "HTTP 400", "never"),
        (400, b"this model's maximum context length is 8192", "context too long", "never"),
    ],
)
def test_a_status_decides_whether_to_try_again(status, content, kind, again):
    with pytest.raises(Fault) as caught:
        read_response(status, {}, content)
    assert (caught.value.kind, caught.value.again) == (kind, again)


@pytest.mark.parametrize(
    ("word", "feature"),
    [
        ("response_format", "schema"),
        ("logprobs", "logprobs"),
        ("seed", "seed"),
        ("use max_completion_tokens", "max_tokens"),
        ("temperature", "temperature"),
    ],
)
def test_a_refused_feature_is_named(word, feature):
    with pytest.raises(Fault) as caught:
        read_response(400, {}, f"unsupported parameter: {word}".encode())
    assert caught.value.feature == feature


def test_retry_after_takes_seconds_and_dates():
    assert retry_after("1.5") == 1.5
    assert 25 < retry_after(email.utils.formatdate(time.time() + 30, usegmt=True)) < 31
    assert [retry_after(value) for value in (None, "soon", "-3", "nan", "inf")] == [None] * 5


def events(*parts):
    return "".join(f"data: {part if isinstance(part, str) else json.dumps(part)}\n\n" for part in parts).encode()


def delta(reason=None, **change):
    return {"model": "m-1", "choices": [{"delta": change, "finish_reason": reason}]}


USED = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


@pytest.mark.parametrize(
    "stream",
    [
        events(delta(content="y"), delta(content="es"), delta("stop"), USED, "[DONE]"),
        events(delta(role="assistant", content=""), delta(content="yes"), USED, "[DONE]"),
        events(delta(reasoning_content="hm"), delta("stop", content="yes"), USED),
        events(delta(content=[{"type": "text", "text": "yes"}]), delta("stop"), USED).replace(b"\n", b"\r\n"),
        b": waiting\n\n" + events(delta("stop", content="yes"), USED).replace(b"data: ", b"event: x\ndata:"),
    ],
)
def test_an_answer_in_events_is_the_same_answer(stream):
    reply = read_response(200, {}, stream)
    assert (reply.text, reply.model, reply.usage) == ("yes", "m-1", Usage(7, 2))


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (events(delta(content="y")), "broken JSON"),
        (events(delta(content="y"), '{"cut": '), "broken JSON"),
        (events(delta(content="y"), {"error": {"message": "overloaded", "code": 503}}), "error 503"),
        (events(delta(content="y"), delta("length"), "[DONE]"), "cut off at max_tokens"),
        (events("[DONE]"), "not a completion"),
    ],
)
def test_events_that_break_off_are_a_fault(stream, kind):
    with pytest.raises(Fault) as caught:
        read_response(200, {}, stream)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("without", "settings"),
    [
        ({"whole"}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"whole", "usage"}, {"stream": True}),
    ],
)
def test_servers_that_only_stream_are_asked_to(without, settings):
    sent = request_body(replace(ASKED, without=frozenset(without)), "m")
    assert {name: value for name, value in sent.items() if "stream" in name} == settings


def test_turns_of_one_role_are_joined_where_a_server_wants_that():
    turns = [("system", "a"), ("user", "b"), ("user", "c"), ("assistant", "d"), ("system", "e"), ("tool", "f")]
    request = Request(tuple(Message(*turn) for turn in turns), without=frozenset({"roles"}))
    assert request_body(request, "m")["messages"] == [
        {"role": "user", "content": "a\n\nb\n\nc"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e\n\nf"},
    ]
    assert json.loads(encode_request(request, "m")) == request_body(request, "m")


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ([{"message": {"content": ""}}, {"message": {"content": "yes"}}], "yes"),
        ([{"text": "yes"}], "yes"),
        (
            [
                {
                    "message": {
                        "content": ["y", {"type": "thinking", "thinking": "no"}, {"type": "output_text", "text": "es"}]
                    }
                }
            ],
            "yes",
        ),
        ([{"message": {"content": "y\0\ud800"}}], "y\ufffd\ufffd"),
    ],
)
def test_an_answer_is_found_wherever_it_stands(choices, text):
    assert read_response(200, {}, json.dumps({"choices": choices}).encode()).text == text


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "", None])
def test_good_reasons_to_finish(reason):
    assert read_response(200, {}, body(finish_reason=reason)).text == "yes"


@pytest.mark.parametrize("reason", ["error", "abort", "tool_calls", "max_tokens", "model_length", "safety", "x", 7, {}])
def test_all_other_reasons_to_finish_are_faults(reason):
    with pytest.raises(Fault):
        read_response(200, {}, body(finish_reason=reason))
