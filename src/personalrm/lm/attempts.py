"""One request until it has a readable answer, is hopeless, or the run stops."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from personalrm.errors import AccessRefused, BudgetSpent, ModelUnavailable, UnreadableReply
from personalrm.lm.answer_lines import Unscored
from personalrm.lm.faults import Fault
from personalrm.lm.pacing import Pacing
from personalrm.lm.prices import estimated_tokens
from personalrm.lm.protocol import LM, Reply, Request
from personalrm.lm.purse import Purse
from personalrm.lm.settings import Retry
from personalrm.lm.usage import Ledger
from personalrm.wording import count

SEED_STEP = 7919
"""From one seed to the next when a reply cannot be read."""
ABSURD = 10.0
"""A Retry-After of more than so many longest pauses is taken for a mistake of the server."""
TOO_MANY = 429
CANNOT_CONNECT = "cannot connect"
"""A server that refuses everybody is gone: the run ends, instead of writing off each request in turn."""


class Stopped(Exception):
    """The run is ending; this request was not finished."""


@dataclass(frozen=True, repr=False)
class Answer:
    """A reply and what was read in it."""

    reply: Reply
    value: Any


@dataclass
class Tries:
    """How far one request has come."""

    started: float
    n_attempts: int = 0
    n_failed: int = 0
    n_unread: int = 0
    refused_since: float | None = None
    """Since when nothing but refused connections was met."""


class Attempts:
    """Sends requests of one run; used inside one event loop.

    Args:
        lm: Makes single attempts.
        retry: Ceilings.
        pacing: When a request may leave.
        purse: What may be spent.
        ledger: Where calls, tokens and faults are noted.
    """

    def __init__(self, lm: LM, retry: Retry, pacing: Pacing, purse: Purse, ledger: Ledger) -> None:
        self._lm, self._retry, self._pacing, self._purse, self._ledger = lm, retry, pacing, purse, ledger
        self.stopped: ModelUnavailable | None = None
        """Why nothing may leave any more."""
        self._last_success = -1.0
        self._jitter = random.Random(0)

    def stop(self, why: ModelUnavailable) -> None:
        """Let nothing leave from now on; what is under way comes back."""
        self.stopped = self.stopped or why
        self._pacing.is_over = True

    async def answer(self, request: Request, read: Callable[[Reply], Any]) -> Answer | Unscored:
        """A reply that can be read, or why there is none.

        Raises:
            Stopped: If the run ends first.
        """
        tries = Tries(time.monotonic())
        while True:
            try:
                reply = await self._once(request, tries)
                return Answer(reply, read(reply))
            except UnreadableReply as complaint:
                fault = Fault(f"unreadable: {complaint}", "reseeded")
            except Fault as found:
                fault = found
            self._ledger.note_fault(fault.kind)
            if (reason := self._gives_up(fault, tries)) is not None:
                return Unscored(reason, tries.n_attempts)
            await self._pause(fault, tries)

    async def _once(self, request: Request, tries: Tries) -> Reply:
        n_tokens = estimated_tokens(request.n_characters) + request.sampling.max_tokens
        await self._pacing.wait(n_tokens)
        if self.stopped is not None:
            raise Stopped
        try:
            reserved = self._purse.reserve(request)
        except BudgetSpent as spent:
            self.stop(spent)
            raise Stopped from None
        tries.n_attempts += 1
        accounts = self._ledger.accounts(request)
        for account in accounts:
            account.n_calls += 1
        reply: Reply | None = None
        try:
            reply = await self._lm.complete(request, seed=request.sampling.seed + SEED_STEP * tries.n_unread)
        finally:
            cost = self._purse.settle(reserved, reply.usage if reply else None)
            if reply is None:
                for account in accounts:
                    account.cost += cost
        self._last_success = time.monotonic()
        self._pacing.note_answer()
        self._ledger.note_served(reply.model)
        for account in accounts:
            account.add(reply.usage, cost)
        if used := reply.usage.prompt_tokens + reply.usage.completion_tokens:
            self._pacing.give_back(n_tokens - used)
        return reply

    def _gives_up(self, fault: Fault, tries: Tries) -> str | None:
        """Why not to try again; None to go on.

        Raises:
            Stopped: If the fault ends the whole run.
        """
        if fault.again == "stop":
            self.stop(
                AccessRefused(
                    f"the server of model {self._lm.name!r} answered {fault.kind}; "
                    + (fault.advice or "check the key, the model's name and the base URL")
                )
            )
            raise Stopped
        if fault.again == "never":
            return fault.kind
        tries.refused_since = (tries.refused_since or time.monotonic()) if fault.kind == CANNOT_CONNECT else None
        if fault.again == "reseeded":
            tries.n_unread += 1
            over = tries.n_unread > self._retry.max_rereads
        else:
            tries.n_failed += fault.status != TOO_MANY
            over = tries.n_failed >= self._retry.max_attempts
        over = over or (fault.kind == CANNOT_CONNECT and not self._retry.waits_for_server)
        if not over and time.monotonic() - tries.started < self._retry.max_total_s:
            return None
        if tries.refused_since is not None and self._last_success < tries.refused_since:
            self.stop(
                ModelUnavailable(
                    f"the server of model {self._lm.name!r} cannot be reached after "
                    f"{count(tries.n_attempts, 'attempt')}; start it or correct --base-url, then run the same "
                    "command again"
                )
            )
            raise Stopped
        return f"{fault.kind}, after {count(tries.n_attempts, 'attempt')}"

    async def _pause(self, fault: Fault, tries: Tries) -> None:
        if fault.again == "reseeded":
            return
        retry, asked = self._retry, fault.retry_after_s
        if asked is not None and asked <= ABSURD * retry.max_pause_s:
            pause = min(asked, retry.max_pause_s)
        else:
            doubled = retry.base_s * 2.0 ** min(tries.n_attempts - 1, 20)
            pause = min(doubled, retry.max_pause_s) * self._jitter.uniform(0.5, 1.0)
        if fault.status == TOO_MANY:
            self._pacing.close_for(pause)
        else:
            await asyncio.sleep(pause)
