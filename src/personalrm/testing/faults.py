"""Seeded faults of the fake server: which reply goes wrong, and how.

Whether an attempt fails depends on the seed, the call (its body without the seed) and
the number of the attempt alone, so that two runs meet the same faults in any order.
"""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from aiohttp import web

from personalrm.errors import BadInput
from personalrm.testing.oddities import ODDITIES

TRANSIENT = (
    "429 seconds", "429 date", "429 absent", "429 absurd", "500", "502", "503", "529", "reset before headers",
    "reset after headers", "reset mid-body", "never answered", "byte a second", "garbage", "HTML", "empty", "huge",
    "huge chunked", "gzip bomb", "truncated JSON", "error with 200", "empty choices", "null", "length",
    "content filter", "refusal", "contradictory label",
)  # fmt: skip
MOST_IN_A_ROW = 3
HUGE = 200 * 2**20
PIECE = b" " * 2**20


@dataclass(frozen=True)
class Faults:
    """What goes wrong, how often."""

    kinds: tuple[str, ...] = TRANSIENT
    rate: float = 0.2
    """Share of attempts that fail, unless the call has failed three times in a row."""
    seed: int = 0
    hopeless: Callable[[str], bool] | None = None
    """Calls (known by their prompt text) that always fail with status 500."""
    too_long: Callable[[str], bool] | None = None
    """Calls whose context is too long, always."""
    no_access_after: int | None = None
    """Number of requests after which the key is refused."""
    wrong_label_rate: float = 0.0
    """Share of calls answered with the other label, readable and consumed as valid."""
    slow_tail_s: float = 0.0
    """One reply in a hundred takes so much longer."""
    renamed_after: int | None = None
    """Number of requests after which replies carry another model's name."""
    away_after: int | None = None
    """Number of requests at which the server drops all connections and refuses new ones."""
    away_s: float = 0.2
    """For how long."""
    odd: str | None = None
    """How all answers differ from OpenAI's, a key of `testing.oddities.ODDITIES`."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in TRANSIENT]
        if unknown:
            raise BadInput(f"unknown fault {unknown[0]!r}; use some of {', '.join(TRANSIENT)}")
        if self.odd is not None and self.odd not in ODDITIES:
            raise BadInput(f"unknown oddity {self.odd!r}; use one of {', '.join(ODDITIES)}")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Faults:
        """The faults that field names and JSON values say; a call is named by a text its prompt contains."""
        given: dict[str, Any] = {name: tuple(value) if name == "kinds" else value for name, value in fields.items()}
        for name in ("hopeless", "too_long"):
            if isinstance(part := given.get(name), str):
                given[name] = lambda prompt, part=part: part in prompt
        return cls(**{"kinds": (), **given})

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
        status, _, when = kind.partition(" ")
        values = {
            "seconds": str(patience_s),
            "absurd": "99999999999",
            "date": email.utils.formatdate(time.time(), usegmt=True),
        }
        headers = {"Retry-After": values[when]} if when in values else {}
        return web.Response(status=int(status), headers=headers, text="busy")
    if kind == "reset before headers":
        _abort(request)
        return web.Response()
    if kind == "never answered":
        await asyncio.sleep(100 * patience_s)
        return web.Response(status=504)
    if kind in ("reset after headers", "reset mid-body", "byte a second", "huge", "huge chunked"):
        return await _stream(kind, request, json.dumps(good).encode(), patience_s)
    if kind == "gzip bomb":
        return web.Response(body=_bomb(), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
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


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


@cache
def _bomb() -> bytes:
    """200 MB of blanks as less than one.

    In members of a megabyte: to pack one stream takes half a second, during which the server answers nobody.
    """
    return gzip.compress(PIECE, 1) * (HUGE // len(PIECE))


async def _stream(kind: str, request: web.BaseRequest, body: bytes, patience_s: float) -> web.StreamResponse:
    length = {"huge": {"Content-Length": str(HUGE)}, "huge chunked": {}}
    headers = length.get(kind, {"Content-Length": str(len(body))})
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    await response.prepare(request)
    with suppress(ConnectionError, asyncio.CancelledError):  # the client wants no more
        if kind == "huge chunked":
            for _ in range(HUGE // len(PIECE)):
                await response.write(PIECE)
        elif kind == "byte a second":
            for at in range(len(body)):
                await response.write(body[at : at + 1])
                await asyncio.sleep(patience_s)
        elif kind != "reset after headers":
            await response.write(body[: len(body) // 2])
        _abort(request)
    return response
