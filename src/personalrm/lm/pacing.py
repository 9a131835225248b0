"""When a request may leave: requests and tokens a minute, and pauses a server asked for.

Limits that the user sets are kept to. Those of the server are found out: after "too many"
(429) requests leave as fast as answers came lately, then a little faster with each
answer until the server complains again. Later complaints slow them less than the answers
in between make them faster, so a server that complains at random, however slowly it is
asked, does not bring a run to a crawl.
Used inside one event loop only, so it needs no locks against threads.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

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
"""How often somebody who waits looks whether the run is ending."""


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
