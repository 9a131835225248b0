"""How a training goes, on stderr: one line that is rewritten on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, TextIO

from personalrm.cli.printing import redraw

if TYPE_CHECKING:
    from types import TracebackType

    from personalrm.rewards.watching import Moment

REDRAW_S = 0.1
LINE_S = 15.0
"""Seconds between two lines in a pipe; logs are read afterwards."""


class TrainingProgress:
    """Draws what it is told.

    Args:
        what: The method.
        is_silent: Draws nothing at all.
        stream: Where to; stderr where None.
        line_s: Seconds between two lines in a pipe.
    """

    def __init__(
        self, what: str, *, is_silent: bool = False, stream: TextIO | None = None, line_s: float = LINE_S
    ) -> None:
        self._what, self._is_silent, self._stream = what, is_silent, stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._pause_s = REDRAW_S if self._is_terminal else line_s
        self._drawn = -math.inf
        self._job: tuple[str, int] = ("", 0)
        self._first, self._since = 0, 0.0
        self._held = ""

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        if kind is None and self._held and not self._is_terminal:  # dev users or convergence ended it between two lines
            self.line(self._held)

    def embedded(self, n_done: int, n_texts: int) -> None:
        """So many of so many texts are embedded."""
        self._show("embedding", n_done, n_texts, f"{n_done:,} of {n_texts:,} texts")

    def moved(self, moment: Moment) -> None:
        """A step is done, or a killed run goes on."""
        job = ", ".join(name for name in (self._what, moment.part) if name)
        if moment.is_resumed:
            self.line(f"{job}: goes on from step {moment.step:,} of {moment.n_steps:,}")
            return
        losses = (("loss", moment.loss), ("dev loss", moment.dev_loss))
        told = [f"step {moment.step:,} of {moment.n_steps:,}"]
        told += [f"{name} {value:.4f}" for name, value in losses if value is not None]
        self._show(job, moment.step, moment.n_steps, ", ".join(told))

    def line(self, text: str) -> None:
        """A line that stays."""
        if not self._is_silent:
            self.clear()
            print(text, file=self._stream, flush=True)

    def _show(self, job: str, n_done: int, n_all: int, told: str) -> None:
        now = time.monotonic()
        if (job, n_all) != self._job or n_done < self._first:
            self._job, self._first, self._since, self._drawn = (job, n_all), n_done, now, -math.inf
        is_soon = now - self._drawn < self._pause_s and n_done < n_all
        self._held = f"{job}: ended at {told}" if is_soon else ""
        if self._is_silent or is_soon or (not n_done and not self._is_terminal):
            return
        self._drawn = now
        n_here = n_done - self._first
        left = f", {(now - self._since) / n_here * (n_all - n_done):.0f} s left" if n_here and n_done < n_all else ""
        text = f"{job}: {told}{left}"
        if self._is_terminal:
            redraw(text, self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the line away that is rewritten, so that another can be printed."""
        if self._is_terminal and not self._is_silent:
            redraw("", self._stream)
