"""A fake OpenAI-compatible server: rules for answers, latency, limits, faults, and a log of every request.

In a test:

    with FakeServer(skilled()) as server:
        model = ModelName("fake", base_url=server.url)

As a process: `python -m personalrm.testing.fake_server --port 8000 --latency-ms 200`;
`GET /log` gives its counts as JSON, `POST /reset` forgets them, `POST /faults` with a JSON
object of `Faults` fields says what goes wrong from now on.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from aiohttp import web

from personalrm.errors import BadInput
from personalrm.testing.coaching import coached
from personalrm.testing.faults import Faults, fail
from personalrm.testing.odd_embeddings import MODES
from personalrm.testing.oddities import ODDITIES
from personalrm.testing.skill import Rule, always_first, by_hash, failing, fixed, fixed_with_persona, obedient, skilled

BLOCK = 512
"""Characters a block of the prefix accounting."""


@dataclass
class Log:
    """Counts since the start or the last reset."""

    n_requests: int = 0
    n_answered: int = 0
    """Completions that were right and whole."""
    n_tokens: int = 0
    """Tokens of those, prompt and completion."""
    most_in_flight: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """Faults by kind, and plain statuses."""
    calls: dict[str, int] = field(default_factory=dict)
    """Requests a call, that is a body without its seed."""
    moments: list[float] = field(default_factory=list)
    """When each request came in, seconds since the server started."""
    refused_s: float | None = None
    """When access was refused for the first time."""
    n_blocks: int = 0
    n_blocks_seen: int = 0
    """Prompt blocks whose whole prefix a finished request had brought before."""
    blocks: set[int] = field(default_factory=set, repr=False)
    """The different ones, each with its whole prefix, as hashes."""

    def note(self, kind: str) -> None:
        """One fault or refusal more."""
        self.statuses[kind] = self.statuses.get(kind, 0) + 1

    def count_prefix(self, prompt: str) -> None:
        """What a server with prefix caching would have seen before."""
        block, seen = 0, True
        for at in range(0, len(prompt), BLOCK):
            block = hash((block, prompt[at : at + BLOCK]))  # 64 bits do for a log
            self.n_blocks += 1
            seen = seen and block in self.blocks
            self.n_blocks_seen += seen
            self.blocks.add(block)

    def summary(self) -> dict[str, Any]:
        """The counts, for benchmarks and tests."""
        return {
            "requests": self.n_requests,
            "calls": len(self.calls),
            "duplicates": self.n_requests - len(self.calls),
            "most_of_a_call": max(self.calls.values(), default=0),
            "answered": self.n_answered,
            "most_in_flight": self.most_in_flight,
            "statuses": dict(sorted(self.statuses.items())),
            "prefix_seen": self.n_blocks_seen / max(1, self.n_blocks),
            "prefix_optimum": 1.0 - len(self.blocks) / max(1, self.n_blocks),
            "first_s": min(self.moments, default=0.0),
            "last_s": max(self.moments, default=0.0),
            "tokens": self.n_tokens,
            "cpu_s": time.process_time(),
            "refused_s": self.refused_s,
        }


class FakeEmbeddings:
    """Answers the route; one text always gets the same vector of unit length.

    Args:
        dim: Width of the vectors.
        longest: Characters of the longest text it takes.
    """

    def __init__(self, dim: int = 16, longest: int = 10_000) -> None:
        self.dim, self.longest = dim, longest
        self.statuses: list[int] = []
        """What the next requests get instead of vectors, first to last."""
        self.bodies: list[bytes] = []
        """What the next requests get after that, as they are, with status 200."""
        self.mode = ""
        """One of `odd_embeddings.MODES`: how it differs from what is usual."""
        self.n_requests = 0
        self.longest_batch = 0
        self.n_texts = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to one request."""
        self.n_requests += 1
        body = json.loads(await request.content.read())
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        if self.statuses:
            return web.json_response({"error": {"message": "planned"}}, status=self.statuses.pop(0))
        if self.bodies:
            return web.Response(body=self.bodies.pop(0))
        if any(len(text) > self.longest for text in texts):
            message = "this model's maximum context length is 8192 tokens"
            return web.json_response({"error": {"message": message}}, status=400)
        self.n_texts += len(texts)
        rows = [{"index": n, "embedding": self.vector(text).tolist()} for n, text in enumerate(texts)]
        usage = {"prompt_tokens": sum(map(len, texts)) // 4}
        good = {"data": rows[::-1], "model": body["model"], "usage": usage}
        status, answer = MODES[self.mode](body, good) if self.mode else (200, good)
        self.longest_batch = max(self.longest_batch, len(rows) if status == 200 else 0)
        return web.json_response(answer, status=status)

    def vector(self, text: str) -> Any:
        """What a text gets, shape `(dim,)`."""
        seed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        drawn = np.random.default_rng(list(seed)).normal(size=self.dim)
        return (drawn / np.linalg.norm(drawn)).astype(np.float32)


RULES: dict[str, Rule] = {
    "hash": by_hash,
    "skilled": skilled(),
    "first": always_first,
    "failing": failing,
    "fixed": fixed,
    "fixed-persona": fixed_with_persona,
    "obedient": obedient(skilled()),
    "coached": coached(
        {"compare": 0.1, "differences": 0.4},
        proposes=("Describe the person.", "Name the differences that come back.", "Compare the choices.", "Be kind."),
    ),
}
_SEED = re.compile(rb'"seed": ?-?\d+')


@dataclass(frozen=True)
class Limited:
    """What the server allows; beyond it the answer is 429 with Retry-After, beyond its slots a place in line."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_in_flight: int | None = None
    slots: int | None = None
    """Requests that are answered at one time."""
    tells_slots: bool = False
    """Whether `GET /props` says how many, as llama.cpp does."""


class FakeServer:
    """The server in a thread of its own.

    Args:
        rule: Reply text from the messages.
        latency_s: How long each answer takes.
        faults: What goes wrong.
        limited: Rate limits.
        logprobs: Whether it gives log-probabilities when asked; otherwise it refuses the field.
        takes_schema: Whether it takes `response_format`.
        patience_s: How long its slow faults take.
        port: 0 picks a free one.
    """

    def __init__(
        self,
        rule: Rule = by_hash,
        *,
        latency_s: float = 0.0,
        faults: Faults | None = None,
        limited: Limited | None = None,
        logprobs: bool = True,
        takes_schema: bool = True,
        patience_s: float = 0.02,
        port: int = 0,
    ) -> None:
        self._rule, self._latency_s, self._faults = rule, latency_s, faults or Faults(kinds=())
        self._limited = limited or Limited()
        self._logprobs, self._takes_schema, self._patience_s, self._port = logprobs, takes_schema, patience_s, port
        self._in_line = asyncio.Semaphore(self._limited.slots or sys.maxsize)  # first come, first served
        self.log = Log()
        self.embeddings = FakeEmbeddings()
        self._streak: dict[str, int] = {}
        self._buckets = [0.0, 0.0]
        self._n_in_flight = 0
        self._started = time.monotonic()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base URL, as a client wants it."""
        return f"http://127.0.0.1:{self._port}/v1"

    def summary(self) -> dict[str, Any]:
        """The log's counts."""
        return self.log.summary()

    def __enter__(self) -> FakeServer:
        async def begin() -> None:
            self._runner = web.ServerRunner(web.Server(self._route, access_log=None), shutdown_timeout=0.1)
            await self._runner.setup()
            await self._listen()
            self._port = self._runner.addresses[0][1]

        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(begin(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            await self._runner.cleanup()
            slow = asyncio.all_tasks() - {asyncio.current_task()}  # replies nobody waits for any more
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not None:
            self._thread.join()
        self._loop.close()

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        """Without an application: clients are measured against this server, so it must cost little itself."""
        if (request.method, request.path) == ("POST", "/v1/chat/completions"):
            return await self._complete(request)
        if (request.method, request.path) == ("POST", "/v1/embeddings"):
            return await self.embeddings.answer(request)
        if (request.method, request.path) == ("GET", "/props") and self._limited.tells_slots:
            return web.json_response(
                {"total_slots": self._limited.slots, "default_generation_settings": {"n_ctx": 8192}}
            )
        if (request.method, request.path) == ("GET", "/log"):
            return web.json_response(self.summary())
        if (request.method, request.path) == ("POST", "/reset"):
            self.log, self._streak, self._started = Log(), {}, time.monotonic()
            return web.json_response({})
        if (request.method, request.path) == ("POST", "/faults"):
            try:
                self._faults = Faults.from_json(json.loads(await request.content.read()))
            except (BadInput, TypeError, ValueError) as error:
                return web.json_response({"error": {"message": str(error)}}, status=400)
            return web.json_response({})
        return web.Response(status=404)

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096)
        await self._site.start()

    async def _go_away(self) -> None:
        """Refuse connections for a while, and drop those that are open."""
        await self._site.stop()
        for handler in self._runner.server.connections if self._runner.server else ():
            if handler.transport is not None:
                handler.transport.abort()
        await asyncio.sleep(self._faults.away_s)
        await self._listen()

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read()
        body = json.loads(raw)
        # A call is known by its body without the seed, which stands before or after the messages.
        seed = _SEED.search(raw)
        digest = hashlib.blake2b(raw[: seed.start()] if seed else raw, digest_size=12)
        if seed:
            digest.update(raw[seed.end() :])
        call = digest.hexdigest()
        log = self.log
        log.n_requests += 1
        log.moments.append(time.monotonic() - self._started)
        log.calls[call] = log.calls.get(call, 0) + 1
        if log.n_requests == self._faults.away_after:
            self._away = asyncio.create_task(self._go_away())
        self._n_in_flight += 1
        log.most_in_flight = max(log.most_in_flight, self._n_in_flight)
        try:
            return await self._respond(request, body, call)
        finally:
            self._n_in_flight -= 1

    async def _respond(self, request: web.BaseRequest, body: Mapping[str, Any], call: str) -> web.StreamResponse:
        prompt = "\n".join(message["content"] for message in body["messages"])
        refused = self._refuse(body, prompt)
        if refused is not None:
            return refused
        slow = self._faults.slow_tail_s and self._faults.uniform("slow", call) < 0.01
        async with self._in_line:
            await asyncio.sleep(self._latency_s + (self._faults.slow_tail_s if slow else 0.0))
            good = self._completion(body, call)
            kind = self._faults.kind_of(call, self._streak.get(call, 0))
            if kind is not None:
                self._streak[call] = self._streak.get(call, 0) + 1
                self.log.note(kind)
                return await fail(kind, request, good, self._patience_s)
        self._streak[call] = 0
        if self._faults.odd is not None:
            odd = ODDITIES[self._faults.odd](body, good, self.log.n_requests - 1)
            return odd if isinstance(odd, web.Response) else web.json_response(odd)
        self.log.count_prefix(prompt)
        n_prompt, n_completion = good["usage"].values()
        self.log.n_tokens += n_prompt + n_completion
        if self._limited.tokens_per_minute is not None:
            self._buckets[1] += n_completion * 60.0 / self._limited.tokens_per_minute
        self.log.n_answered += 1
        return web.json_response(good)

    def _refuse(self, body: Mapping[str, Any], prompt: str) -> web.Response | None:
        """What is answered at once: no access, hopeless prompts, features it lacks, limits."""
        faults, limited = self._faults, self._limited
        if faults.no_access_after is not None and self.log.n_requests > faults.no_access_after:
            self.log.refused_s = self.log.refused_s or time.monotonic() - self._started
            return self._error(401, "invalid api key")
        if not self._takes_schema and "response_format" in body:
            return self._error(400, "response_format is not supported")
        if not self._logprobs and "logprobs" in body:
            return self._error(400, "logprobs are not supported")
        if faults.too_long is not None and faults.too_long(prompt):
            return self._error(400, "this model's maximum context length is 8192 tokens")
        if faults.hopeless is not None and faults.hopeless(prompt):
            return self._error(500, "hopeless")
        if limited.max_in_flight is not None and self._n_in_flight > limited.max_in_flight:
            return self._error(429, "too many at once", {"Retry-After": str(self._patience_s)})
        return self._over_rate(prompt)

    def _over_rate(self, prompt: str) -> web.Response | None:
        """429 when a bucket of one second's worth is empty; completions are taken out of it when they are known."""
        now, limited = time.monotonic(), self._limited
        for place, (rate, amount) in enumerate(
            ((limited.requests_per_minute, 1.0), (limited.tokens_per_minute, len(prompt) / 4))
        ):
            if rate is None:
                continue
            busy_until = max(self._buckets[place], now - 1.0)
            if busy_until > now:
                return self._error(429, "rate limit", {"Retry-After": f"{busy_until - now:.3f}"})
            self._buckets[place] = busy_until + amount * 60.0 / rate
        return None

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
        self.log.note(str(status))
        return web.json_response({"error": {"message": message}}, status=status, headers=headers)

    def _completion(self, body: Mapping[str, Any], call: str) -> dict[str, Any]:
        text = self._rule(body["messages"])
        if self._faults.wrong_label_rate and self._faults.uniform("label", call) < self._faults.wrong_label_rate:
            swapped = {'"choice": "first"': '"choice": "second"', '"choice": "second"': '"choice": "first"'}
            text = next((text.replace(old, new) for old, new in swapped.items() if old in text), text)
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
        }
        if body.get("logprobs"):
            choice["logprobs"] = {"content": _tokens(text)}
        n_prompt = sum(len(message["content"]) for message in body["messages"]) // 4
        usage = {"prompt_tokens": n_prompt, "completion_tokens": len(text) // 4}
        renamed = self._faults.renamed_after is not None and self.log.n_requests > self._faults.renamed_after
        model = body["model"] + "-0101" * renamed
        return {"object": "chat.completion", "model": model, "choices": [choice], "usage": usage}


@lru_cache(maxsize=1024)
def _tokens(text: str) -> list[dict[str, Any]]:
    """Tokens of four characters but for the label, which is one token with its alternative at 0.1."""
    before, label, after = text, "", ""
    for choice in ("first", "second"):
        head, key, tail = text.rpartition(f'"choice": "{choice}')
        if key:
            before, label, after = head + key[: -len(choice)], choice, tail
    rows = [_token(before[at : at + 4]) for at in range(0, len(before), 4)]
    if label:
        other = "second" if label == "first" else "first"
        rows.append(_token(label, [(label, -0.10536), (other, -2.302585)]))
    return rows + [_token(after[at : at + 4]) for at in range(0, len(after), 4)]


def _token(text: str, alternatives: list[tuple[str, float]] | None = None) -> dict[str, Any]:
    listed = [{"token": token, "logprob": chance} for token, chance in alternatives or [(text, -0.01)]]
    return {"token": text, "logprob": listed[0]["logprob"], "top_logprobs": listed}


def main() -> None:
    """Serve until interrupted; prints the URL when ready."""
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rule", choices=sorted(RULES), default="hash")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--requests-per-minute", type=float)
    parser.add_argument("--tokens-per-minute", type=float)
    parser.add_argument("--max-in-flight", type=int)
    parser.add_argument("--patience-ms", type=float, default=20.0)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--tells-slots", action="store_true")
    options = parser.parse_args()
    server = FakeServer(
        RULES[options.rule],
        latency_s=options.latency_ms / 1000.0,
        faults=Faults(rate=options.fault_rate, seed=options.seed),
        limited=Limited(
            options.requests_per_minute,
            options.tokens_per_minute,
            options.max_in_flight,
            options.slots,
            options.tells_slots,
        ),
        patience_s=options.patience_ms / 1000.0,
        port=options.port,
    )
    with server:
        print(server.url, flush=True)  # noqa: T201  # whoever started it waits for this line
        threading.Event().wait()


if __name__ == "__main__":
    main()
