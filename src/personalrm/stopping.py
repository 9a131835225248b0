"""Stopping without losing anything: the first SIGINT or SIGTERM drains, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Drain:
    """While it is entered, an interrupt is noted instead of raised; the loop asks `is_asked`.

    Args:
        at_first: Called at the first interrupt.
    """

    def __init__(self, at_first: Callable[[], None]) -> None:
        self.is_asked = False
        self._at_first = at_first
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Drain:
        if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        self._at_first()

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave back
