"""The OpenAI chat format as bytes: requests out, replies in. Pure functions.

A body that is not what the format promises is a `Fault`, never an empty string: null
content, empty choices, a reply cut off by the length limit, a refusal and a content filter
are told apart here, what a server says in place of an answer in `refusals`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import repeat
from typing import Any

from personalrm.lm.protocol import (
    Again,
    Fault,
    Feature,
    Reply,
    Request,
    Sampling,
    Schema,
    TokenChances,
    Usage,
    spelt_out,
)
from personalrm.lm.refusals import error_fault, refusal_of
from personalrm.preferences.messages import Message, Role

_LABEL_STARTS = frozenset("fsab12")
"""How the labels of a verdict begin; only there alternatives of a token are of use."""
_FINISHED = frozenset({"", "none", "stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "complete"})
"""Reasons to finish, in lower case, after which an answer is whole; after any other it is not."""
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
_FILTERED = frozenset({"content_filter", "content_filtered", "safety", "sensitive", "recitation", "prohibited_content"})
_BROKEN = frozenset({"error", "abort", "aborted", "timeout", "insufficient_system_resource"})
"""Reasons that lie with the server, which may do better in a while."""
_REASONED = ("reasoning_content", "reasoning", "thinking", "thinking_blocks", "reasoning_details")
"""Where servers put what a model thinks before it answers."""
_WAITED = re.compile(rb"(?:\xef\xbb\xbf|\s+|:[^\n]*\n)+")
_UNWRITABLE = re.compile("[\ud800-\udfff\0]")
"""Halves of characters and NUL: JSON may carry them, files and databases cannot."""


def request_body(request: Request, model: str, *, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON body, without the features this server refused."""
    messages = [{"role": turn.role, "content": turn.content} for turn in _turns(request)]
    return _settings(request, model, extra) | {"messages": messages}


def encode_request(request: Request, model: str, *, extra: Mapping[str, Any] | None = None) -> bytes:
    """`request_body` as bytes; settings and long texts that many requests share are escaped once."""
    schema = (request.schema.name, request.schema.text) if request.schema is not None else None
    settings = _quoted_settings(request.sampling, schema, model, request.without, json.dumps(extra or {}))
    *shared, last = _turns(request)
    turns = [_quoted(turn.role, turn.content) for turn in shared]
    turns.append(_quoted.__wrapped__(last.role, last.content))  # the last turn is nobody else's
    return b"".join((settings, b",".join(turns), b"]}"))


def _turns(request: Request) -> Sequence[Message]:
    """The messages; for servers that want users and assistants in turn, system turns stand in front of a user's."""
    if "roles" not in request.without:
        return request.messages
    turns: list[Message] = []
    for turn in request.messages:
        role: Role = "assistant" if turn.role == "assistant" else "user"
        if turns and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{turn.content}")
        else:
            turns.append(Message(role, turn.content))
    return turns


@lru_cache(maxsize=512)
def _quoted(role: str, text: str) -> bytes:
    return json.dumps({"role": role, "content": text}).encode("ascii")


@lru_cache(maxsize=64)
def _quoted_settings(
    sampling: Sampling, schema: tuple[str, str] | None, model: str, without: frozenset[Feature], extra: str
) -> bytes:
    """A body up to its messages; a run has few different ones, and a schema is long."""
    held_to = Schema(schema[0], json.loads(schema[1])) if schema is not None else None
    settings = _settings(Request((), sampling, held_to, without=without), model, json.loads(extra))
    return json.dumps(settings)[:-1].encode("ascii") + b', "messages": ['


def _settings(request: Request, model: str, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Everything in a body but the messages."""
    sampling, without = request.sampling, request.without
    longest = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
    body: dict[str, Any] = {"model": model, longest: sampling.max_tokens}
    if "temperature" not in without:
        body["temperature"] = sampling.temperature
    if request.schema is not None and "schema" not in without:
        schema = {"name": request.schema.name, "schema": request.schema.content, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.top_logprobs and "logprobs" not in without:
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    if "whole" in without:
        body |= {"stream": True} | ({"stream_options": {"include_usage": True}} if "usage" not in without else {})
    return body | {name: value for name, value in (extra or {}).items() if name not in without}


def read_response(status: int, headers: Mapping[str, str], body: bytes, sent: Sequence[str] = ()) -> Reply:
    """The reply in a response.

    Args:
        status: Of the response.
        headers: Of the response.
        body: A completion as JSON, or as events that bring it piece by piece.
        sent: Texts and secrets of the request, which a server may repeat and no message of ours may.

    Raises:
        Fault: For everything else.
    """
    if not 200 <= status < 300:
        raise refusal_of(status, headers, body, sent)
    # Servers that let a client wait send blanks, or comments of an event stream.
    waited = _WAITED.match(body)
    body = body[waited.end() :] if waited else body
    try:
        content = _joined(body) if body.startswith((b"data:", b"event:")) else json.loads(body)
    except (ValueError, RecursionError):
        kind = "empty body" if not body.strip() else "HTML" if body.lstrip()[:1] == b"<" else "broken JSON"
        raise Fault(kind, "same") from None
    if not isinstance(content, dict):
        raise Fault("not a completion", "same")
    if content.get("error"):
        raise error_fault(content["error"], None, sent=sent)
    try:
        return _reply(content, sent)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError):
        raise Fault("not a completion", "same") from None


def _joined(stream: bytes) -> dict[str, Any]:
    """The completion that the events of a stream come to, errors in mid-stream included.

    Raises:
        ValueError: If the stream broke off.
    """
    whole: dict[str, Any] = {}
    texts: dict[str, list[str]] = {}
    tokens: list[Any] = []
    reason, is_over = None, False
    for event in stream.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].strip() for line in event.split("\n") if line.startswith("data:")]
        if not lines or lines == [""]:
            continue
        is_over = is_over or lines == ["[DONE]"]
        if lines == ["[DONE]"]:
            continue
        part = json.loads("\n".join(lines))
        if not isinstance(part, dict) or part.get("error"):
            return part if isinstance(part, dict) else {}
        whole |= {name: part[name] for name in ("model", "usage") if part.get(name)}
        for choice in part.get("choices") or ():
            for name, piece in (choice.get("delta") or choice.get("message") or {}).items():
                if piece is not None and name != "role":
                    texts.setdefault(name, []).append(piece if isinstance(piece, str) else _text_of(piece) or "")
            tokens += (choice.get("logprobs") or {}).get("content") or []
            reason = choice.get("finish_reason") or reason
    if not is_over and reason is None:
        raise ValueError("the stream broke off")
    message = {name: "".join(pieces) for name, pieces in texts.items()}
    choice = {"message": message, "finish_reason": reason, "logprobs": {"content": tokens}}
    return whole | {"choices": [choice]}


def _reply(content: Mapping[str, Any], sent: Sequence[str]) -> Reply:
    if not content["choices"]:
        raise Fault("empty choices", "same")
    choices = content["choices"]
    choice = next((choice for choice in choices if (choice.get("message") or {}).get("content")), choices[0])
    message = choice.get("message") or {"content": choice["text"]}
    reason = str(choice.get("finish_reason")).lower()
    usage = _usage(content.get("usage"))
    paid = usage if usage.prompt_tokens else None  # a reply of no use has its price all the same
    if choice.get("error"):
        fault = error_fault(choice["error"], None, sent=sent)
        fault.usage = paid
        raise fault
    if reason in _CUT:
        raise Fault("cut off at max_tokens", "reseeded", usage=paid)
    if reason in _FILTERED:
        raise Fault("content filter", "reseeded", usage=paid)
    if message.get("refusal") or reason == "refusal":
        raise Fault("refusal", "reseeded", usage=paid)
    if reason not in _FINISHED:
        again: Again = "same" if reason in _BROKEN else "reseeded"
        raise Fault(f"finish_reason {_written(reason)[:40]!r}", again, usage=paid)
    text = _text_of(message.get("content"))
    if text is None or not text.strip():
        if reasoned := next((name for name in _REASONED if message.get(name)), None):
            advice = "turn the server's reasoning parser off, or thinking, such as with enable_thinking (--body)"
            raise Fault(f"no content, the answer stands in {reasoned}", "reseeded", advice=advice, usage=paid)
        raise Fault("null content" if text is None else "empty content", "reseeded", usage=paid)
    return Reply(_written(text), "stop", usage, _tokens(choice), _written(str(content.get("model") or ""))[:200])


def _text_of(content: Any) -> str | None:
    """The text of a message's content, which may come in parts; what was thought before it is left out."""
    if content is None or isinstance(content, str):
        return content
    parts = [content] if isinstance(content, dict) else content
    texts = [part if isinstance(part, str) else part.get("text") for part in parts if not _is_thought(part)]
    return "".join(text for text in texts if isinstance(text, str))


def _is_thought(part: Any) -> bool:
    return not isinstance(part, str) and part.get("type", "text") not in ("text", "output_text")


def _written(text: str) -> str:
    """The text as it can be written anywhere."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _usage(usage: Any) -> Usage:
    """The tokens a server counted, under any of their names; all zeros where it did not count both sides.

    Some count the tokens of thoughts beside those of the completion, in the total or nowhere else.
    """
    if not isinstance(usage, dict):
        return Usage()

    def number(of: Any, *names: str) -> int:
        return max([_count(of.get(name)) for name in names]) if isinstance(of, dict) else 0

    prompt = number(usage, "prompt_tokens", "input_tokens")
    completion = number(usage, "completion_tokens", "output_tokens")
    total = number(usage, "total_tokens")
    thoughts = number(usage.get("completion_tokens_details"), "reasoning_tokens")
    completion = max(completion + (thoughts if thoughts > completion else 0), total - prompt if prompt else 0)
    prompt = prompt or max(0, total - completion)
    cached = number(usage.get("prompt_tokens_details"), "cached_tokens")
    cached = max(cached, number(usage, "cached_tokens", "prompt_cache_hit_tokens"))
    return Usage(prompt, completion, min(cached, prompt)) if prompt and completion else Usage()


def _count(value: Any) -> int:
    """A count, also where it is written as a float or a text; 0 for all else."""
    if type(value) is int:  # what nearly all servers write
        return max(0, value)
    if isinstance(value, str) and len(value) < 20:
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return max(0, math.ceil(value))


def _tokens(choice: Mapping[str, Any]) -> tuple[TokenChances, ...]:
    """Log-probabilities, or nothing where they are absent or malformed; they are a bonus, never a fault."""
    logprobs = choice.get("logprobs")
    tokens = []
    try:
        for row in _rows(logprobs) if isinstance(logprobs, dict) else ():
            token = _without_label(row["token"])
            if token is None:
                listed = [(_written(str(a["token"])), float(a["logprob"])) for a in (row.get("top_logprobs") or [row])]
                if not all(math.isfinite(chance) or chance == -math.inf for _, chance in listed):
                    return ()
                token = TokenChances(_written(row["token"]), tuple(listed))
            tokens.append(token)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()
    return tuple(tokens)


def _rows(logprobs: Mapping[str, Any]) -> Iterable[Any]:
    """A row a token, in the layout of today or that of the first completions."""
    if logprobs.get("content") is not None or not isinstance(logprobs.get("tokens"), list):
        return logprobs.get("content") or ()
    rows = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs.get("top_logprobs") or repeat({}), strict=False)
    return [
        {
            "token": token,
            "logprob": chance,
            "top_logprobs": [{"token": t, "logprob": p} for t, p in (top or {}).items()],
        }
        for token, chance, top in rows
    ]


@lru_cache(maxsize=4096)
def _without_label(text: Any) -> TokenChances | None:
    """The token without its alternatives where no label begins like it; None where one may.

    A long reply has hundreds of these, five alternatives each.
    """
    if not isinstance(text, str) or spelt_out(text).strip(" \"'\n\t:{")[:1].lower() in _LABEL_STARTS:
        return None
    return TokenChances(_written(text), ())
