"""Everything that may be asked at once, asked at once: the one place with concurrency.

A `Caller` owns an event loop in a thread of its own, so its plain functions work in
scripts, notebooks and running event loops alike. What is asked is built only when its
turn comes, so a long queue costs little memory. Identical requests are sent once; an
answer is handed out, and its place under way given to the next request, only after it
is safe on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from personalrm.errors import ModelUnavailable, PersonalRMError
from personalrm.lm.answer_lines import Unscored
from personalrm.lm.attempts import Answer, Attempts, Stopped
from personalrm.lm.cache import Cache
from personalrm.lm.pacing import Pacing
from personalrm.lm.prices import Price
from personalrm.lm.protocol import LM, Reply, Request, Sampling
from personalrm.lm.purse import Purse
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.lm.usage import Ledger
from personalrm.preferences.messages import Message

Value = TypeVar("Value")
CLAIM_PAUSE_S = 0.05
"""Between two looks whether another process has an answer: well under the time of a call."""


@dataclass(frozen=True, repr=False)
class Ask(Generic[Value]):
    """Something to ask and how to read the answer."""

    build: Callable[[], Request]
    """Makes the request, when its turn comes."""
    read: Callable[[Reply], Value]
    """Makes the answer of a reply; raises `UnreadableReply`."""


@dataclass(frozen=True, repr=False)
class Outcome(Generic[Value]):
    """What became of an ask: a value, or a reason why there is none."""

    value: Value | None
    reason: str = ""
    is_stopped: bool = False
    """The run ended before it was answered; asking again later goes on from here."""


@dataclass
class _Wave:
    """Asks that were handed in together."""

    outcomes: list[Outcome[Any] | None]
    n_open: int
    done: Callable[[list[Outcome[Any]]], None]

    def put(self, place: int, outcome: Outcome[Any]) -> None:
        self.outcomes[place] = outcome
        self.n_open -= 1
        if not self.n_open:
            self.done([one for one in self.outcomes if one is not None])


@dataclass(frozen=True, repr=False)
class _Job:
    ask: Ask[Any]
    wave: _Wave
    place: int


class Caller:
    """Asks one model, whoever wants to know.

    Args:
        lm: The model.
        cache: Where answers are kept; None keeps them in this run only (single flight still holds).
        retry: Ceilings of retries.
        limits: Concurrency and rates.
        budget: What may be spent.
        price: What tokens cost, where known.
        retry_unscored: Ask again what had no usable answer the last time.
    """

    def __init__(
        self,
        lm: LM,
        *,
        cache: Cache | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        price: Price | None = None,
        retry_unscored: bool = False,
    ) -> None:
        self.lm = lm
        self.cache = cache
        self.limits = limits or Limits()
        self.ledger = Ledger()
        self.purse = Purse(budget or Budget(), price, lm.name)
        self._retry = retry or Retry()
        self._pacing = Pacing(self.limits)
        self._attempts = Attempts(lm, self._retry, self._pacing, self.purse, self.ledger)
        self._retry_unscored = retry_unscored
        self._queue: deque[_Job] = deque()
        self._flying: dict[bytes, list[tuple[_Job, Request]]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def stopped(self) -> ModelUnavailable | None:
        """Why nothing leaves any more: access refused, server gone, budget spent, interrupted."""
        return self._attempts.stopped

    def ask_all(self, asks: Sequence[Ask[Value]]) -> list[Outcome[Value]]:
        """The outcomes, in order; blocks until the last is there."""
        ready, found = threading.Event(), []

        def take(outcomes: list[Outcome[Value]]) -> None:
            found.extend(outcomes)
            ready.set()

        self.start(asks, take)
        ready.wait()
        return found

    def start(self, asks: Sequence[Ask[Value]], done: Callable[[list[Outcome[Value]]], None]) -> None:
        """Queue the asks and return; `done` gets the outcomes, in order, in the caller's own thread."""
        if not asks:
            done([])
            return
        wave = _Wave([None] * len(asks), len(asks), done)
        jobs = [_Job(ask, wave, place) for place, ask in enumerate(asks)]
        self._started().call_soon_threadsafe(self._enqueue, jobs)

    def stop(self, why: ModelUnavailable) -> None:
        """Send nothing more; what is under way is awaited and kept."""
        self._attempts.stop(why)

    def close(self, *, at_once: bool = False) -> None:
        """Wait for what is under way (an interrupt ends the wait), then let go of connections, file and thread.

        Args:
            at_once: Do not wait; answers under way are lost.
        """
        if self._loop is not None and self._thread is not None:
            self.stop(ModelUnavailable("this caller was closed; make a new one"))
            finished = asyncio.run_coroutine_threadsafe(self._finish(), self._loop)
            try:
                if not at_once:
                    finished.result()
            finally:
                self._loop.call_soon_threadsafe(self._abandon)  # nothing to do after a wait that was not cut short
                finished.result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None
        if self.cache is not None:
            self.cache.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Interrupted while it was stopping already: whoever asks twice does not want to wait.
        self.close(at_once=kind is not None and issubclass(kind, KeyboardInterrupt) and self.stopped is not None)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            if self.cache is not None:
                self.cache.open(retry_unscored=self._retry_unscored)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="personalrm-lm", daemon=True)
            self._thread.start()
        return self._loop

    async def _finish(self) -> None:
        while self._workers:
            await asyncio.wait(self._workers)
        await self.lm.close()

    def _abandon(self) -> None:
        for worker in self._workers:
            worker.cancel()

    def _enqueue(self, jobs: Sequence[_Job]) -> None:
        self._queue.extend(jobs)
        self._man()

    def _man(self) -> None:
        """Start as many workers as the queue can use and as may be under way."""
        for _ in range(min(len(self._queue), self.limits.max_in_flight - len(self._workers))):
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._man()  # jobs that came in between its last look at the queue and now

    async def _work(self) -> None:
        """One job after the other: the next request leaves in the same turn of the loop as an answer came in."""
        while self._queue:
            await self._run(self._queue.popleft())

    async def _run(self, job: _Job) -> None:
        request = job.ask.build()
        key = key_of(self.lm.identity, request)
        if key in self._flying:
            self._flying[key].append((job, request))
            return
        self._flying[key] = [(job, request)]
        result: Answer | Unscored | Stopped = Stopped()
        try:
            result = await self._resolve(key, request, job.ask)
        except Stopped as stopped:
            result = stopped
        except PersonalRMError as error:  # the cache's file failed: nothing can be kept, so nothing more is asked
            self.stop(ModelUnavailable(str(error)))
            result = Stopped()
        except Exception as error:  # a bug of ours or a reader's; it must not leave anybody waiting
            self.stop(ModelUnavailable(f"asking the model failed ({type(error).__name__}); please report it"))
            result = Stopped()
            raise
        finally:
            for waiting, asked in self._flying.pop(key):
                waiting.wave.put(waiting.place, self._outcome(waiting.ask, job.ask, asked, result))

    async def _resolve(self, key: bytes, request: Request, ask: Ask[Any]) -> Answer | Unscored:
        cache = self.cache
        if cache is None:
            return await self._answer(request, ask)
        await self._claim(cache, key)
        try:
            kept = cache.find(key, user_id=request.user_id)
            if kept is None:
                result = await self._answer(request, ask)
                cache.keep(key, request.user_id, result if isinstance(result, Unscored) else result.reply)
                return result
        finally:
            cache.release(key)
        for account in self.ledger.accounts(request):
            account.n_cached += 1
        return kept if isinstance(kept, Unscored) else Answer(kept, ask.read(kept))

    async def _claim(self, cache: Cache, key: bytes) -> None:
        """Wait while another process asks for the same; its answer is found afterwards."""
        waits_until = time.monotonic() + self._retry.max_total_s
        while not cache.claim(key):
            if self.stopped is not None:
                raise Stopped
            if time.monotonic() > waits_until:
                return  # it hangs; one call paid twice is better than hanging with it
            await asyncio.sleep(CLAIM_PAUSE_S)

    async def _answer(self, request: Request, ask: Ask[Any]) -> Answer | Unscored:
        if self.stopped is not None:
            raise Stopped
        return await self._attempts.answer(request, ask.read)

    def _outcome(
        self, ask: Ask[Any], first: Ask[Any], request: Request, result: Answer | Unscored | Stopped
    ) -> Outcome[Any]:
        if isinstance(result, Answer):
            return Outcome(result.value if ask is first else ask.read(result.reply))
        for account in self.ledger.accounts(request):
            account.n_unscored += isinstance(result, Unscored)
        return Outcome(None, result.reason) if isinstance(result, Unscored) else Outcome(None, "stopped", True)


def key_of(identity: str, request: Request) -> bytes:
    """What a request is known by in the cache: model, messages, sampling and schema; 16 bytes."""
    schema = (request.schema.name, request.schema.text) if request.schema is not None else None
    first, *others = request.messages
    digest = _begun(identity, request.sampling, schema, first).copy()
    for turn in others:
        _add(digest, turn)
    return digest.digest()


@lru_cache(maxsize=512)
def _begun(identity: str, s: Sampling, schema: tuple[str, str] | None, first: Message) -> hashlib.blake2b:
    """The digest as far as many requests share it: a trial's have settings and instructions in common."""
    held_to = [schema[0], json.loads(schema[1])] if schema is not None else None
    head = json.dumps([identity, s.temperature, s.max_tokens, s.seed, s.top_logprobs, held_to])
    digest = hashlib.blake2b(head.encode("ascii"), digest_size=16)
    _add(digest, first)
    return digest


def _add(digest: hashlib.blake2b, turn: Message) -> None:
    content = turn.content.encode("utf-8", "surrogatepass")
    digest.update(f"\0{turn.role} {len(content)} ".encode("ascii"))  # lengths, so that no text can pose as two
    digest.update(content)
