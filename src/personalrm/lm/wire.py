"""The OpenAI chat format as bytes: requests out, replies in. Pure functions.

A body that is not what the format promises is a `Fault`, never an empty string: null
content, empty choices, an error with status 200, a reply cut off by the length limit,
a refusal and a content filter are told apart.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from personalrm.lm.protocol import Fault, Reply, Request, Sampling, Schema, TokenChances, Usage

HOPELESS = frozenset({400, 404, 405, 413, 415, 422})
NO_ACCESS = frozenset({401, 402, 403})
_LABEL_STARTS = frozenset("fsab12")
"""How the labels of a verdict begin; only there alternatives of a token are of use."""
_FEATURES = (  # parts of a request, and how a server says that it does not take one
    ("schema", re.compile(r"response_format|json_schema|guided|structured")),
    ("logprobs", re.compile(r"logprobs")),
    ("seed", re.compile(r"\bseed\b")),
    ("max_tokens", re.compile(r"max_completion_tokens")),
    ("temperature", re.compile(r"\btemperature\b")),
)


def request_body(
    request: Request, model: str, *, without: frozenset[str] = frozenset(), extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The JSON body, without the features this server refused."""
    messages = [{"role": turn.role, "content": turn.content} for turn in request.messages]
    return _settings(request, model, without, extra) | {"messages": messages}


def encode_request(
    request: Request, model: str, *, without: frozenset[str] = frozenset(), extra: Mapping[str, Any] | None = None
) -> bytes:
    """`request_body` as bytes; settings and long texts that many requests share are escaped once."""
    schema = (request.schema.name, request.schema.text) if request.schema is not None else None
    settings = _quoted_settings(request.sampling, schema, model, without, json.dumps(extra or {}))
    *shared, last = request.messages
    turns = [_quoted(turn.role, turn.content) for turn in shared]
    turns.append(_quoted.__wrapped__(last.role, last.content))  # the last turn is nobody else's
    return b"".join((settings, b",".join(turns), b"]}"))


@lru_cache(maxsize=512)
def _quoted(role: str, text: str) -> bytes:
    return json.dumps({"role": role, "content": text}).encode("ascii")


@lru_cache(maxsize=64)
def _quoted_settings(
    sampling: Sampling, schema: tuple[str, str] | None, model: str, without: frozenset[str], extra: str
) -> bytes:
    """A body up to its messages; a run has few different ones, and a schema is long."""
    held_to = Schema(schema[0], json.loads(schema[1])) if schema is not None else None
    settings = _settings(Request((), sampling, held_to), model, without, json.loads(extra))
    return json.dumps(settings)[:-1].encode("ascii") + b', "messages": ['


def _settings(request: Request, model: str, without: frozenset[str], extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Everything in a body but the messages."""
    sampling = request.sampling
    longest = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
    body: dict[str, Any] = {"model": model, longest: sampling.max_tokens}
    if "temperature" not in without:
        body["temperature"] = sampling.temperature
    if request.schema is not None and "schema" not in without:
        schema = {"name": request.schema.name, "schema": request.schema.content, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.top_logprobs and "logprobs" not in without:
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return body | dict(extra or {})


def read_response(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """The reply in a response.

    Raises:
        Fault: For everything else.
    """
    if status != 200:
        raise _status_fault(status, headers, body)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        kind = "empty body" if not body.strip() else "HTML" if body.lstrip()[:1] == b"<" else "broken JSON"
        raise Fault(kind, "same") from None
    if not isinstance(content, dict):
        raise Fault("not a completion", "same")
    if content.get("error"):
        raise _error_fault(content["error"])
    try:
        return _reply(content)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise Fault("not a completion", "same") from None


def _reply(content: Mapping[str, Any]) -> Reply:
    if not content["choices"]:
        raise Fault("empty choices", "same")
    choice = content["choices"][0]
    message, reason = choice["message"], str(choice.get("finish_reason") or "stop")
    if reason == "length":
        raise Fault("cut off at max_tokens", "reseeded")
    if reason == "content_filter":
        raise Fault("content filter", "reseeded")
    if message.get("refusal"):
        raise Fault("refusal", "reseeded")
    text = message.get("content")
    if not isinstance(text, str) or not text.strip():
        raise Fault("null content" if text is None else "empty content", "reseeded")
    usage = content.get("usage")
    if not isinstance(usage, dict):
        usage = {}
    details = usage.get("prompt_tokens_details") or {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"), details.get("cached_tokens"))
    counted = Usage(*(count if isinstance(count, int) and count >= 0 else 0 for count in counts))
    return Reply(text, reason, counted, _tokens(choice), str(content.get("model", "")))


def _tokens(choice: Mapping[str, Any]) -> tuple[TokenChances, ...]:
    """Log-probabilities, or nothing where they are absent or malformed; they are a bonus, never a fault."""
    logprobs = choice.get("logprobs")
    rows = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(rows, list):
        return ()
    tokens = []
    try:
        for row in rows:
            token = _without_label(row["token"])
            if token is None:
                chances = [(str(a["token"]), float(a["logprob"])) for a in (row.get("top_logprobs") or [row])]
                if not all(math.isfinite(chance) or chance == -math.inf for _, chance in chances):
                    return ()
                token = TokenChances(str(row["token"]), tuple(chances))
            tokens.append(token)
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(tokens)


@lru_cache(maxsize=4096)
def _without_label(text: Any) -> TokenChances | None:
    """The token without its alternatives where no label begins like it; None where one may.

    A long reply has hundreds of these, five alternatives each.
    """
    if not isinstance(text, str) or text.strip(" \"'\n")[:1].lower() in _LABEL_STARTS:
        return None
    return TokenChances(text, ())


def _status_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    if status in NO_ACCESS:
        return Fault(f"HTTP {status}", "stop", status=status)
    if status in HOPELESS:
        text = body[:4000].decode("utf-8", "replace").lower()
        if "context" in text and "maximum" in text:
            return Fault("context too long", "never", status=status)
        feature = next((feature for feature, sign in _FEATURES if sign.search(text)), "")
        if status == 404 and not feature:
            return Fault("HTTP 404", "stop", status=status)
        return Fault(f"HTTP {status}", "never", status=status, feature=feature)
    return Fault(f"HTTP {status}", "same", status=status, retry_after_s=retry_after(headers.get("Retry-After")))


def _error_fault(error: Any) -> Fault:
    """An error told with status 200, as proxies do."""
    code = error.get("code") if isinstance(error, dict) else None
    if str(code) in ("401", "403", "invalid_api_key"):
        return Fault("error 401", "stop", status=401)
    if str(code) in ("400", "context_length_exceeded"):
        return Fault("context too long" if str(code) != "400" else "error 400", "never", status=400)
    return Fault("error with status 200", "same")


def retry_after(value: str | None) -> float | None:
    """Seconds a Retry-After header asks for, as a number or a date; None when absent or absurd.

    >>> retry_after("2"), retry_after("-1"), retry_after("soon")
    (2.0, None, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
        seconds = max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
