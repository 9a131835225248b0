"""When a request may leave, and when it has waited too long.

Requests and tokens a minute, pauses a server asked for, and turns on servers that answer a few at a time.

Limits that the user sets are kept to. Those of the server are found out: after "too many"
(429) requests leave as fast as answers came lately, then a little faster with each
answer until the server complains again. Later complaints slow them less than the answers
in between make them faster, so a server that complains at random, however slowly it is
asked, does not bring a run to a crawl.
Used inside one event loop only, so it needs no locks against threads.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from typing import Any

from personalrm.lm.settings import Limits

BURST_S = 0.5
"""How far a bucket may run ahead after a quiet spell."""
CATCH_UP_S = 0.2
"""The same for a pace that was measured."""
N_RECENT = 32
"""Answers from which the pace a server allows is measured."""
FASTER = 0.995
"""What an answer makes of the gap between two requests."""
SETTLING = 64
"""Answers after the first 429 during which the pace is measured anew at each; a storm's first measures are too fast."""
SLOWER = 1.12
"""What later refusals make of the gap at most, once in `N_RECENT` answers and refusals."""
NO_GAP_S = 1e-4
LOOK_S = 0.5
"""How often somebody who waits looks whether the run is ending or an answer is overdue."""
MOST_PATIENCE = 8
N_STEPS = 20
"""Looks in a short time-out, which is up to a tenth longer than it says for them."""


class Pacing:
    """Spreads requests evenly over time, first come, first served."""

    def __init__(self, limits: Limits) -> None:
        self._rates = [rate / 60.0 if rate else None for rate in (limits.requests_per_minute, limits.tokens_per_minute)]
        self._next = [0.0, 0.0]
        self._closed_until = 0.0
        self._gap_s, self._next_measured = 0.0, 0.0
        self._answers: deque[float] = deque(maxlen=N_RECENT)
        self._n_settled = 0
        self._n_seen = 0  # answers and refusals since the gap was last made larger
        self._turn = asyncio.Lock()
        self.is_over = False
        """Whether the run is ending, so that nobody need wait any more; may be set in any thread."""

    async def wait(self, n_tokens: int) -> None:
        """Return when one request of so many tokens may leave."""
        if not self._gap_s and self._rates == [None, None] and self._closed_until <= time.monotonic():
            return
        async with self._turn:  # one at a time, so that tokens given back meanwhile count for the next
            while not self.is_over:
                limits = [start for start, rate in zip(self._next, self._rates, strict=True) if rate is not None]
                earliest = max(self._closed_until, self._next_measured if self._gap_s else 0.0, *limits)
                if (pause := earliest - time.monotonic()) <= 0:
                    break
                await asyncio.sleep(min(pause, LOOK_S))
            now = time.monotonic()
            for place, (rate, amount) in enumerate(zip(self._rates, (1, n_tokens), strict=True)):
                if rate is not None:
                    self._next[place] = max(self._next[place], now - BURST_S) + amount / rate
            self._next_measured = max(self._next_measured, now - CATCH_UP_S) + self._gap_s

    def give_back(self, n_tokens: int) -> None:
        """Tokens that were counted in advance and not used."""
        if self._rates[1] is not None:
            self._next[1] -= n_tokens / self._rates[1]

    def note_answer(self) -> None:
        """The server took a request: what pace it allows is seen from these."""
        self._answers.append(time.monotonic())
        self._n_settled += self._gap_s > 0.0
        self._n_seen += 1
        self._gap_s = self._gap_s * FASTER if self._gap_s > NO_GAP_S else 0.0

    def close_for(self, seconds: float) -> None:
        """Let nothing leave for so long, then at the pace of the latest answers: the server is over its limit."""
        now = time.monotonic()
        self._closed_until = max(self._closed_until, now + seconds)
        self._n_seen += 1
        if len(self._answers) < 2:
            return
        measured = (now - self._answers[0]) / len(self._answers)
        if self._n_settled < SETTLING or not self._gap_s:
            self._gap_s = measured
        elif self._n_seen > N_RECENT:
            self._gap_s, self._n_seen = min(measured, SLOWER * self._gap_s), 0


class Turns:
    """When a request has waited too long, on servers that answer a few at a time and let the others stand in line.

    The time of a request counts from its turn: from when fewer unfinished requests than the server has slots were sent
    before it. How many slots there are is what the server says, else what it shows: whoever is answered while others
    that were sent before it still wait had a slot beside theirs. A server whose answers take long gets twice the time
    of the slowest lately. When a request has waited in vain and nothing was answered since, nobody stands in line
    any more: then the server is silent, all wait at once, and each time twice as long, since what is cut off goes to
    the end of a line in which other programs may stand too.

    Time is counted in small steps, and a step that took long counts as two: a machine that was too busy to look must
    not take for lost what has arrived meanwhile.

    Args:
        timeout_s: Longest wait from its turn on.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s, self._step_s = timeout_s, min(timeout_s / N_STEPS, LOOK_S)
        self.n_slots = 1
        """Requests that the server is known to answer at one time, at least."""
        self._now = self._looked = 0.0
        self._unfinished: dict[_Turn, None] = {}  # in the order they were sent; the first `_n_turned` have their turn
        self._n_turned = 0
        self._in_line: deque[_Turn] = deque()
        self._durations: deque[float] = deque([0.0], maxlen=N_RECENT)
        self._is_silent = False
        self._patience = 1
        """How many time-outs are waited; doubled while nobody is answered, as others may stand in line before us."""
        self._looks: asyncio.TimerHandle | None = None

    def turn(self) -> _Turn:
        """A request under way, as a context that raises `TimeoutError` in the task which waits for it."""
        return _Turn(self)

    def know_slots(self, n_slots: int) -> None:
        """So many requests are answered at one time, at least."""
        self.n_slots = max(self.n_slots, n_slots)
        self._call()

    def enter(self, turn: _Turn) -> None:
        """A request leaves."""
        if self._looks is None:
            loop = asyncio.get_running_loop()
            self._looked = loop.time()
            self._looks = loop.call_later(self._step_s, self._look)
        self._unfinished[turn] = None
        self._in_line.append(turn)
        self._call()

    def leave(self, turn: _Turn, *, is_answered: bool) -> None:
        """A request is finished, however."""
        del self._unfinished[turn]
        if turn.since is not None:
            self._n_turned -= 1
            if is_answered:
                self._durations.append(self._now - turn.since)
        elif is_answered:
            place = self._in_line.index(turn)  # it was answered before its turn, so there are more slots
            self.n_slots = max(self.n_slots, self._n_turned + place + 1)
        if turn.since is None:
            self._in_line.remove(turn)
        if is_answered:
            self._patience = 1
            if self._is_silent:
                self._stand_in_line()
        self._call()
        if not self._unfinished and self._looks is not None:
            self._looks.cancel()
            self._looks = None

    def _call(self) -> None:
        while self._in_line and (self._is_silent or self._n_turned < self.n_slots):
            self._in_line.popleft().since = self._now + self._step_s  # of the step that runs nothing is known
            self._n_turned += 1

    def _stand_in_line(self) -> None:
        self._is_silent = False
        turned = list(self._unfinished)[: self._n_turned]
        for turn in reversed(turned[self.n_slots :]):
            turn.since = None
            self._in_line.appendleft(turn)
        self._n_turned = min(self._n_turned, self.n_slots)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._now += min(now - self._looked, 2 * self._step_s)
        self._looked = now
        longest = max(self._timeout_s * self._patience, 2 * max(self._durations))
        was_silent = self._is_silent
        for turn in itertools.islice(self._unfinished, self._n_turned):
            if turn.since is not None and self._now - turn.since > longest and turn.end():
                self._is_silent = True
                self._patience = min(MOST_PATIENCE, 2 * self._patience) if was_silent else self._patience
                was_silent = False  # once a look
        self._call()
        self._looks = loop.call_later(self._step_s, self._look) if self._unfinished else None


class _Turn:
    """One request of `Turns`."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._task: asyncio.Task[Any] | None = None
        self._is_over = False
        self.since: float | None = None
        """When its turn came."""
        self.is_answered = False
        """Whether it got what it asked for; a refusal comes at once and says nothing of how the server works."""

    def __enter__(self) -> _Turn:
        self._task = asyncio.current_task()
        self._turns.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._turns.leave(self, is_answered=self.is_answered)
        if self._is_over and self._task is not None and self._task.uncancel() == 0 and error is not None:
            raise TimeoutError from error

    def end(self) -> bool:
        """Interrupt the wait; False if it is interrupted already."""
        if self._is_over or self._task is None:
            return False
        self._is_over = True
        return self._task.cancel()
