"""Everything that may be asked at once, asked at once: the one place with concurrency.

A `Caller` owns an event loop in a thread of its own, so its plain functions work in
scripts, notebooks and running event loops alike. What is asked is built only when its
turn comes, so a long queue costs little memory. Identical requests are sent once; an
answer is handed out, and its place under way given to the next request, only after it
is safe on disk. A request is tried until it has a readable answer, is hopeless, or the
run stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

from personalrm.errors import AccessRefused, BudgetSpent, ModelUnavailable, PersonalRMError, UnreadableReply
from personalrm.lm.cache import Cache, Unscored
from personalrm.lm.http import CANNOT_CONNECT, TIMED_OUT
from personalrm.lm.pacing import Pacing
from personalrm.lm.prices import Price, estimated_tokens
from personalrm.lm.protocol import LM, Fault, Feature, Reply, Request, Sampling, Usage
from personalrm.lm.refusals import TOO_MANY
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.lm.usage import Ledger, Purse, is_cut
from personalrm.preferences.messages import Message
from personalrm.wording import count

Value = TypeVar("Value")
CLAIM_PAUSE_S = 0.05
"""Between two looks whether another process has an answer: well under the time of a call."""
SEED_STEP = 7919
"""From one seed to the next when a reply cannot be read."""
FULL = 503
ABSURD = 10.0
"""A Retry-After of more than so many longest pauses is taken for a mistake of the server."""
MOST_CHANGES = 20
"""Times that a request is sent in another way; there are fewer features than that, and no redirect is as long."""
ROOM_PAUSE_S = 0.02
"""Between two looks whether what others reserved has come back."""


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
            self.done([outcome for outcome in self.outcomes if outcome is not None])


@dataclass(frozen=True, repr=False)
class _Job:
    ask: Ask[Any]
    wave: _Wave
    place: int


@dataclass(frozen=True, repr=False)
class _Answer:
    """A reply and what was read in it."""

    reply: Reply
    value: Any


class _Stopped(Exception):
    """The run is ending; this request was not finished."""


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
        self.refused: frozenset[Feature] = frozenset()
        """What the server does not take; left out of every request from then on."""
        self.stopped: ModelUnavailable | None = None
        """Why nothing leaves any more: access refused, server gone, budget spent, interrupted."""
        self._retry = retry or Retry()
        self._pacing = Pacing(self.limits)
        self._retry_unscored = retry_unscored
        self._jitter = random.Random(0)
        self._last_success, self._n_answered, self._began = -1.0, 0, time.monotonic()
        self._n_absent = 0
        """Requests given up one after the other because the server answered nobody."""
        self._queue: deque[_Job] = deque()
        self._flying: dict[bytes, list[tuple[_Job, Request]]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def ask_all(self, asks: Sequence[Ask[Value]]) -> list[Outcome[Value]]:
        """The outcomes, in order; blocks until the last is there."""
        ready, answered = threading.Event(), []

        def take(outcomes: list[Outcome[Value]]) -> None:
            answered.extend(outcomes)
            ready.set()

        self.start(asks, take)
        ready.wait()
        return answered

    def ask_all_or_raise(self, asks: Sequence[Ask[Value]]) -> list[Outcome[Value]]:
        """The outcomes, in order, for who has no use for a part of them.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        outcomes = self.ask_all(asks)
        if any(outcome.is_stopped for outcome in outcomes):
            raise self.stopped or ModelUnavailable("the run was stopped")
        return outcomes

    def start(self, asks: Sequence[Ask[Value]], done: Callable[[list[Outcome[Value]]], None]) -> None:
        """Queue the asks and return; `done` gets the outcomes, in order, in the caller's own thread."""
        if not asks:
            done([])
            return
        if self._loop is None:
            if self.cache is not None:
                self.cache.open(retry_unscored=self._retry_unscored)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="personalrm-lm", daemon=True)
            self._thread.start()
        wave = _Wave([None] * len(asks), len(asks), done)
        self._loop.call_soon_threadsafe(self._man, [_Job(ask, wave, place) for place, ask in enumerate(asks)])

    def progress(self) -> str:
        """How many requests are answered, under way and waiting; may be asked in any thread."""
        minutes = (time.monotonic() - self._began) / 60.0
        waiting = f", {len(self._queue):,} wait" if self._queue else ""
        answered = count(self._n_answered, "answer")
        return f"model {self.lm.name!r}: {answered} in {minutes:.0f} min, {len(self._workers):,} under way{waiting}"

    def stop(self, why: ModelUnavailable) -> None:
        """Send nothing more; what is under way is awaited and kept."""
        self.stopped = self.stopped or why
        self._pacing.is_over = True

    def close(self, *, at_once: bool = False) -> None:
        """Wait for what is under way (an interrupt ends the wait), then let go of connections, file and thread.

        Args:
            at_once: Do not wait; answers under way are lost.
        """

        async def finish() -> None:
            while self._workers:
                await asyncio.wait(self._workers)
            await self.lm.close()

        def abandon() -> None:
            for worker in self._workers:
                worker.cancel()

        if self._loop is not None and self._thread is not None:
            self.stop(ModelUnavailable("this caller was closed; make a new one"))
            finished = asyncio.run_coroutine_threadsafe(finish(), self._loop)
            try:
                if not at_once:
                    finished.result()
            finally:
                self._loop.call_soon_threadsafe(abandon)  # nothing to do after a wait that was not cut short
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

    def _man(self, jobs: Sequence[_Job] = ()) -> None:
        """Queue the jobs, and start as many workers as the queue can use and as may be under way."""
        self._queue.extend(jobs)
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
        result: _Answer | Unscored | None = None  # None where the run stopped first
        try:
            result = await self._resolve(key, request, job.ask)
        except _Stopped:
            pass
        except PersonalRMError as error:  # the cache's file failed: nothing can be kept, so nothing more is asked
            self.stop(ModelUnavailable(str(error)))
        except Exception as error:  # a bug of ours or a reader's; it must not leave anybody waiting
            self.stop(ModelUnavailable(f"asking the model failed ({type(error).__name__}); please report it"))
            raise
        finally:
            for waiting, asked in self._flying.pop(key):
                outcome: Outcome[Any] = Outcome(None, "stopped", is_stopped=True)
                try:
                    if isinstance(result, _Answer):
                        outcome = Outcome(result.value if waiting.ask is job.ask else waiting.ask.read(result.reply))
                    elif result is not None:
                        outcome = Outcome(None, result.reason)
                except UnreadableReply as complaint:  # by this reader, who came later than the one that could
                    outcome = Outcome(None, f"unreadable: {complaint}")
                if outcome.reason and not outcome.is_stopped:
                    for account in self.ledger.accounts(asked):
                        account.n_unscored += 1
                waiting.wave.put(waiting.place, outcome)

    async def _resolve(self, key: bytes, request: Request, ask: Ask[Any]) -> _Answer | Unscored:
        """What is kept, else what the model says, which is kept before it is used."""
        cache = self.cache
        if cache is None:
            return await self._answer(request, ask.read)
        # While another process asks for the same this one waits; the answer is found afterwards. One that hangs is
        # not waited for: a call paid twice is better than hanging with it. While answers are kept nobody hangs.
        n_bytes, waits_until = cache.n_bytes, time.monotonic() + self._retry.max_total_s
        while not cache.claim(key):
            if self.stopped is not None:
                raise _Stopped
            if cache.n_bytes != n_bytes:
                n_bytes, waits_until = cache.n_bytes, time.monotonic() + self._retry.max_total_s
            elif time.monotonic() > waits_until:
                break
            await asyncio.sleep(CLAIM_PAUSE_S)
        try:
            kept = cache.find(key, user_id=request.user_id)
            with suppress(UnreadableReply):  # what an earlier version could read and this one cannot is asked again
                if kept is not None:
                    answer = kept if isinstance(kept, Unscored) else _Answer(kept, ask.read(kept))
                    for account in self.ledger.accounts(request):
                        account.n_cached += 1
                    return answer
            result = await self._answer(request, ask.read)
            cache.keep(key, request.user_id, result if isinstance(result, Unscored) else result.reply)
            self.ledger.n_kept += isinstance(result, _Answer)
            return result
        finally:
            cache.release(key)

    async def _answer(self, request: Request, read: Callable[[Reply], Any]) -> _Answer | Unscored:
        """A reply that can be read, or why there is none.

        Raises:
            _Stopped: If the run ends first.
        """
        if self.stopped is not None:
            raise _Stopped
        retry = self._retry
        failing_since, failed_at = 0.0, time.monotonic()  # the time in a slow server's line is nobody's fault
        n_attempts = n_failed = n_unread = n_changed = 0
        absent_since: float | None = None  # since when nothing but refused connections or time-outs was met
        while True:
            n_attempts += 1
            reserved = await self._room(request)
            sent = replace(request, without=self.refused) if self.refused else request
            try:
                reply = await self._attempt(sent, reserved, seed=request.sampling.seed + SEED_STEP * n_unread)
                return _Answer(reply, read(reply))
            except UnreadableReply as complaint:
                fault = Fault(f"unreadable: {complaint}", "reseeded")
            except Fault as raised:
                fault = raised
            if self._changes(fault, sent) and n_changed < MOST_CHANGES:
                n_changed += 1
                continue
            self._note(fault)
            cannot_connect = fault.kind == CANNOT_CONNECT
            if fault.again == "stop":
                advice = fault.advice or "check the key, the model's name and the base URL"
                sentence = f"the server of model {self.lm.name!r} answered {fault.told()}; {advice}"
                self.stop(AccessRefused(f"{sentence}, then run the same command again"))
                raise _Stopped
            if fault.again == "never":
                return Unscored(fault.told(), n_attempts)
            is_absent = fault.kind in (CANNOT_CONNECT, TIMED_OUT)
            absent_since = (absent_since or time.monotonic()) if is_absent else None
            failing_since = failing_since or time.monotonic()
            if fault.again == "reseeded":
                n_unread += 1
                gives_up = n_unread > retry.max_rereads
            else:
                # A full queue is told as 503 too; while others are answered, that does not count.
                is_busy = fault.status == FULL and self._last_success >= failed_at
                n_failed += fault.status != TOO_MANY and not is_busy
                failed_at = time.monotonic()
                gives_up = n_failed >= retry.max_attempts or (cannot_connect and not retry.waits_for_server)
            if gives_up or time.monotonic() - failing_since >= retry.max_total_s:
                attempts = count(n_attempts, "attempt")
                if absent_since is not None and self._last_success < absent_since and self._is_gone(fault, attempts):
                    raise _Stopped
                advice = f"; {fault.advice}" if fault.advice else ""
                return Unscored(f"{fault.told(attempts)}{advice}", n_attempts)
            if fault.again == "same":
                await self._pause(fault, n_attempts)

    def _is_gone(self, fault: Fault, attempts: str) -> bool:
        """Stop the run, as the server answers nobody; unless this may be the one prompt that hangs it each time."""
        self._n_absent += 1
        if fault.kind == TIMED_OUT:
            if self._n_absent == 1 and self._last_success > 0.0:
                return False
            what = f"answers nobody, after {attempts}; look at its log, or give it time with --timeout"
        else:
            what = f"cannot be reached after {attempts}; {fault.advice or 'start it or correct --base-url'}"
        self.stop(ModelUnavailable(f"the server of model {self.lm.name!r} {what}, then run the same command again"))
        return True

    def _changes(self, fault: Fault, sent: Request) -> bool:
        """Whether a request will be sent in another way; others under way may have learned of the refusal before."""
        if fault.feature is None or fault.feature in sent.without:
            return fault.again == "changed"
        self.refused |= {fault.feature}
        return True

    def _note(self, fault: Fault) -> None:
        self.ledger.faults[fault.kind] += 1
        if fault.message:
            self.ledger.said[fault.kind] = fault.message

    async def _pause(self, fault: Fault, n_attempts: int) -> None:
        retry, asked_s = self._retry, fault.retry_after_s
        if asked_s is not None and asked_s <= ABSURD * retry.max_pause_s:
            pause = min(asked_s, retry.max_pause_s)
        else:
            doubled = retry.base_s * 2.0 ** min(n_attempts - 1, 20)
            pause = min(doubled, retry.max_pause_s) * self._jitter.uniform(0.5, 1.0)
        if fault.status == TOO_MANY:
            self._pacing.close_for(pause)  # for all requests
        else:
            await asyncio.sleep(pause)

    async def _room(self, request: Request) -> float:
        """Wait until a request may leave; what is reserved for it.

        Raises:
            _Stopped: If the run ends first, or the budget is spent.
        """
        await self._pacing.wait(_most_tokens(request))
        while self.stopped is None:
            try:
                reserved = self.purse.reserve(request)
            except BudgetSpent as spent:
                self.stop(spent)
                break
            if reserved is not None:
                return reserved
            await asyncio.sleep(ROOM_PAUSE_S)
        raise _Stopped

    async def _attempt(self, request: Request, reserved: float, *, seed: int) -> Reply:
        """One attempt; calls, tokens and cost are noted."""
        accounts = self.ledger.accounts(request)
        usage, has_left = None, True
        for account in accounts:
            account.n_calls += 1
        try:
            reply = await self.lm.complete(request, seed=seed)
            usage = reply.usage if reply.usage.prompt_tokens else None
        except Fault as fault:
            usage, has_left = fault.usage, fault.kind != CANNOT_CONNECT
            raise
        finally:
            cost = self.purse.settle(reserved, usage) if has_left else self.purse.take_back(reserved)
            for account in accounts:
                account.add(usage or Usage(), cost)
                account.n_calls -= not has_left
        self._last_success, self._n_absent = time.monotonic(), 0
        self._n_answered += 1
        self._pacing.note_answer()
        if reply.model:
            self.ledger.served_by[reply.model] += 1
        self.ledger.n_cut += is_cut(request, reply.usage)
        if used := reply.usage.prompt_tokens + reply.usage.completion_tokens:
            self._pacing.give_back(_most_tokens(request) - used)
        return reply


def _most_tokens(request: Request) -> int:
    """What a request counts for in a rate of tokens before it is answered."""
    return estimated_tokens(request.n_characters) + request.sampling.max_tokens


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
