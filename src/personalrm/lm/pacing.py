"""When a request may leave: requests and tokens a minute, and pauses a server asked for.

Used inside one event loop only, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import time

from personalrm.lm.settings import Limits

BURST_S = 0.5
"""How far a bucket may run ahead after a quiet spell."""


class Pacing:
    """Spreads requests evenly over time, first come, first served."""

    def __init__(self, limits: Limits) -> None:
        self._rates = [rate / 60.0 if rate else None for rate in (limits.requests_per_minute, limits.tokens_per_minute)]
        self._next = [0.0, 0.0]
        self._closed_until = 0.0

    async def wait(self, n_tokens: int) -> None:
        """Return when one request of so many tokens may leave."""
        now = time.monotonic()
        moments = [self._closed_until]
        for place, (rate, amount) in enumerate(zip(self._rates, (1, n_tokens), strict=True)):
            if rate is not None:
                start = max(self._next[place], now - BURST_S)
                self._next[place] = start + amount / rate
                moments.append(start)
        while (pause := max(*moments, self._closed_until) - time.monotonic()) > 0:
            await asyncio.sleep(pause)

    def give_back(self, n_tokens: int) -> None:
        """Tokens that were counted in advance and not used."""
        if self._rates[1] is not None:
            self._next[1] -= n_tokens / self._rates[1]

    def close_for(self, seconds: float) -> None:
        """Let nothing leave for so long: the server said it is over its limit."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)
