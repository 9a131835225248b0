"""Seeded faults of the fake server: which reply goes wrong, and how.

Whether an attempt fails depends on the seed, the call (its body without the seed) and
the number of the attempt alone, so that two runs meet the same faults in any order.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

STATUSES = (429, 500, 502, 503, 529)
TRANSIENT = (
    "429 seconds", "429 date", "429 absent", "429 absurd", "500", "502", "503", "529", "reset before headers",
    "reset mid-body", "never answered", "byte a second", "garbage", "HTML", "empty", "huge", "truncated JSON",
    "error with 200", "empty choices", "null", "length", "content filter", "refusal", "contradictory label",
)  # fmt: skip
MOST_IN_A_ROW = 3
HUGE = 200 * 2**20


@dataclass(frozen=True)
class Faults:
    """What goes wrong, how often."""

    kinds: tuple[str, ...] = TRANSIENT
    rate: float = 0.2
    """Share of attempts that fail, unless the call has failed three times in a row."""
    seed: int = 0
    hopeless: Callable[[str], bool] | None = None
    """Calls (told by their prompt text) that always fail with status 500."""
    too_long: Callable[[str], bool] | None = None
    """Calls whose context is too long, always."""
    no_access_after: int | None = None
    """Number of requests after which the key is refused."""
    wrong_label_rate: float = 0.0
    """Share of calls answered with the other label, readable and consumed as valid."""
    slow_tail_s: float = 0.0
    """One reply in a hundred takes so much longer."""

    def kind_of(self, call: str, attempt: int) -> str | None:
        """The fault of an attempt (counted from 0 since the last answer), or None."""
        if attempt >= MOST_IN_A_ROW or not self.kinds:
            return None
        draw = self.uniform("fault", call, attempt)
        return self.kinds[int(self.uniform("kind", call, attempt) * len(self.kinds))] if draw < self.rate else None

    def uniform(self, *key: object) -> float:
        """A number in [0, 1) that depends on the seed and the key."""
        digest = hashlib.sha256(json.dumps([self.seed, *key]).encode("utf-8")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


async def fail(
    kind: str, request: web.BaseRequest, good: Mapping[str, object], patience_s: float
) -> web.StreamResponse:
    """The faulty response of a kind.

    Args:
        kind: One of `TRANSIENT`.
        request: What it answers.
        good: The completion that would have been right.
        patience_s: How long "never" and "a second" are here, so that tests end.
    """
    if kind[:3].isdigit():
        return web.Response(status=int(kind[:3]), headers=_retry_after(kind, patience_s), text="busy")
    if kind == "reset before headers":
        _abort(request)
        return web.Response()
    if kind == "never answered":
        await asyncio.sleep(100 * patience_s)
        return web.Response(status=504)
    if kind in ("reset mid-body", "byte a second", "huge"):
        return await _stream(kind, request, json.dumps(good).encode(), patience_s)
    bodies = {"garbage": b"\x00\xff\x12garbage", "HTML": b"<html><body>502</body></html>", "empty": b""}
    if kind in bodies:
        return web.Response(body=bodies[kind], content_type="application/json")
    if kind == "truncated JSON":
        return web.Response(body=json.dumps(good).encode()[:-20], content_type="application/json")
    return web.json_response(_spoilt(kind, good))


def _spoilt(kind: str, good: Mapping[str, object]) -> Mapping[str, object]:
    """A completion that is one in form only."""
    if kind == "error with 200":
        return {"error": {"message": "overloaded", "code": 503}}
    if kind == "empty choices":
        return {**good, "choices": []}
    choice = json.loads(json.dumps(good))["choices"][0]
    if kind == "null":
        choice["message"]["content"] = None
    if kind == "refusal":
        choice["message"] = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    if kind in ("length", "content filter"):
        choice["finish_reason"] = kind.replace(" ", "_")
        choice["message"]["content"] = choice["message"]["content"][:10]
    if kind == "contradictory label":
        text = choice["message"]["content"]
        other = "second" if '"first"' in text else "first"
        choice["message"]["content"] = f"{text}\n\nFinal answer: {other}" if "choice" in text else "no persona"
    return {**good, "choices": [choice]}


def _retry_after(kind: str, patience_s: float) -> dict[str, str]:
    when = kind.partition(" ")[2]
    if when == "date":
        return {"Retry-After": email.utils.formatdate(time.time(), usegmt=True)}
    values = {"seconds": str(patience_s), "absurd": "99999999999"}
    return {"Retry-After": values[when]} if when in values else {}


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _stream(kind: str, request: web.BaseRequest, body: bytes, patience_s: float) -> web.StreamResponse:
    length = HUGE if kind == "huge" else len(body)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(length)})
    await response.prepare(request)
    try:
        if kind == "byte a second":
            for at in range(len(body)):
                await response.write(body[at : at + 1])
                await asyncio.sleep(patience_s)
        await response.write(body[: len(body) // 2])
    except (ConnectionError, asyncio.CancelledError):
        return response
    _abort(request)
    return response
