"""Servers as public bug reports describe them, one oddity a function, for `Faults(odd=...)`.

Each gets a request's body, the completion that would have been right and the number of
requests before it, and returns what is sent instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

Completion = dict[str, Any]
Oddity = Callable[[Mapping[str, Any], Completion, int], Completion | web.Response]


def _refusal(status: int, message: str, **more: str) -> web.Response:
    error: dict[str, Any] = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}
    return web.json_response({"error": error}, status=status)


def _told(**change: Any) -> Oddity:
    """The right text told in another message."""

    def odd(_body: Mapping[str, Any], good: Completion, _n: int) -> Completion:
        message = good["choices"][0]["message"]
        message |= {name: value(message["content"]) for name, value in change.items()}
        return good

    return odd


def _finished(reason: Any, share: float = 1.0) -> Oddity:
    """The beginning of the right text, finished for another reason."""

    def odd(_body: Mapping[str, Any], good: Completion, _n: int) -> Completion:
        choice = good["choices"][0]
        text = choice["message"]["content"]
        choice["message"]["content"] = text[: int(share * len(text))]
        choice["finish_reason"] = reason
        return good

    return odd


def _refusing(
    is_refused: Callable[[Mapping[str, Any]], Any], status: int, message: str, body: Any = None, **more: Any
) -> Oddity:
    """An error for requests that hold something, in OpenAI's layout or as the JSON that is given."""

    def odd(sent: Mapping[str, Any], good: Completion, _n: int) -> Completion | web.Response:
        if not is_refused(sent):
            return good
        return _refusal(status, message, **more) if body is None else web.json_response(body(sent), status=status)

    return odd


def _counted(usage: Callable[[dict[str, int]], Any]) -> Oddity:
    """The right text with another account of its tokens."""

    def odd(_body: Mapping[str, Any], good: Completion, _n: int) -> Completion:
        return good | {"usage": usage(good["usage"])}

    return odd


def _spelt(spell: Callable[[str], str]) -> Oddity:
    """The right log-probabilities, tokens written otherwise."""

    def odd(_body: Mapping[str, Any], good: Completion, _n: int) -> Completion:
        for row in (good["choices"][0].get("logprobs") or {"content": []})["content"]:
            row["token"] = spell(row["token"])
            for listed in row["top_logprobs"]:
                listed["token"] = spell(listed["token"])
        return good

    return odd


def _streamed(_body: Mapping[str, Any], good: Completion, _n: int) -> web.Response:
    choice = good["choices"][0]
    text = choice["message"]["content"]
    deltas: list[Completion] = [{"delta": {"content": text[at : at + 9]}} for at in range(0, len(text), 9)]
    deltas += [{"delta": {}, "finish_reason": "stop", "logprobs": choice.get("logprobs")}]
    parts = [{"model": good["model"], "choices": [delta]} for delta in deltas]
    parts += [{"model": good["model"], "choices": [], "usage": good["usage"]}]
    lines = [f"data: {json.dumps(part)}" for part in parts]
    return web.Response(text="\n\n".join([": waiting", *lines, "data: [DONE]", ""]), content_type="text/event-stream")


def _only_streams(body: Mapping[str, Any], good: Completion, n: int) -> Completion | web.Response:
    if body.get("stream"):
        return _streamed(body, good, n)
    return _refusal(400, "This model only support stream mode, please enable the stream parameter to access the model.")


def _each(every: int, odd: Oddity) -> Oddity:
    """The oddity for the first and then every so many requests."""
    return lambda body, good, n: odd(body, good, n) if n % every == 0 else good


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _has_system(body: Mapping[str, Any]) -> bool:
    return any(message["role"] == "system" for message in body["messages"])


def _validation(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """FastAPI's refusal of a field, the whole body sent back with it."""
    return lambda body: {"detail": [{"type": "x", "loc": ["body", name], "msg": "Input should be less", "input": body}]}


_SYSTEMLESS = "System role not supported"
_NOT_VALID = "Failed to validate JSON. Please adjust your prompt. See 'failed_generation' for more details."
_CREDITS = {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}
_TOO_LONG = {
    "error": {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}
}
_SHORT_CONTEXT = {
    "error": {
        "message": "This model's maximum context length is 1,024 tokens. However, you requested 1300 tokens (276 in "
        "the messages, 1024 in the completion). Please reduce the length of the messages or completion."
    }
}
_THOUGHT = "The choice: first? It is short."
_CHANNELS = "<|channel|>analysis<|message|>The choice: first?<|end|><|start|>assistant<|channel|>final<|message|>"
ODDITIES: dict[str, Oddity] = {
    "content parts": _told(content=lambda text: [{"type": "thinking", "thinking": []}, {"type": "text", "text": text}]),
    "answer among thoughts": _told(reasoning_content=lambda text: text, content=lambda text: None),
    "thoughts in channels": _told(content=lambda text: _CHANNELS + text),
    "thoughts of gemma": _told(content=lambda text: f"<|channel>thought\n{_THOUGHT}\n<channel|>{text}"),
    "half a character": _told(content=lambda text: text.replace('": "', '": "\ud800', 1)),
    "finished by an error": _finished("error", 0.5),
    "finished by max_tokens": _finished("max_tokens", 0.5),
    "finished by end_turn": _finished("end_turn"),
    "streams unasked": _streamed,
    "only streams": _only_streams,
    "no log-probabilities 403": _refusing(
        lambda body: "logprobs" in body, 403, "You are not allowed to request logprobs from this model"
    ),
    "no log-probabilities 500": _refusing(
        lambda body: "logprobs" in body, 500, "logprobs is not supported with tools + stream"
    ),
    "echoes top_logprobs": _refusing(lambda body: "logprobs" in body, 422, "", _validation("top_logprobs")),
    "no system turn": _refusing(_has_system, 400, _SYSTEMLESS),
    "now and then too long": _each(3, _refusing(
        _always, 422, "",
        lambda body: {"detail": [{"loc": ["body"], "msg": "messages exceed the tenant's size limit", "input": body}]},
    )),
    "now and then not JSON": _each(3, _refusing(_always, 400, _NOT_VALID, code="json_validate_failed")),
    "no quota": _refusing(
        _always, 429, "You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
    ),
    "no credits": _refusing(_always, 200, "", lambda body: _CREDITS),
    "no such path": _refusing(
        _always, 200, "", lambda body: {"error": "Unexpected endpoint or method. (POST /chat/completions)"}
    ),
    "too long": _refusing(_always, 400, "", lambda body: _TOO_LONG),
    "short context": _refusing(_always, 400, "", lambda body: _SHORT_CONTEXT),
    "counts nothing": _counted(lambda usage: None),
    "counts in floats": _counted(lambda usage: {name: float(count) for name, count in usage.items()}),
    "counts thoughts beside": _counted(
        lambda usage: usage | {"total_tokens": 5000 + sum(usage.values())}
    ),
    "cuts prompts": _counted(lambda usage: usage | {"prompt_tokens": 64}),
    "Ġ": _spelt(lambda token: token.replace(" ", "Ġ") if token.strip() not in ("first", "second") else f"Ġ{token}"),
    "▁": _spelt(lambda token: token.replace(" ", "▁") if token.strip() not in ("first", "second") else f"▁{token}"),
}  # fmt: skip
