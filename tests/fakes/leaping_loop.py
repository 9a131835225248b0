"""An event loop whose clock leaps to the next timer: hours of waiting pass in no time, the same on a busy machine."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class _Leaping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.now += timeout
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Runs what only sleeps and waits for each other."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now

    def stall(self, seconds: float) -> None:
        """As if the machine had been too busy to run the loop for so long."""
        self._leaping.now += seconds


def run_leaping(main: Coroutine[Any, Any, Value]) -> Value:
    """What a coroutine returns, without waiting for its sleeps."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(main)
