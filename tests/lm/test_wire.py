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
