"""Telling whoever looks on how a training goes.

What is told changes no result, and a fit would have to hand it through four layers to the
loop that knows it, so it is the one thing here that is found by context instead of by
argument (docs/decisions/0018-watching-a-training.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Where a training stands."""

    step: int
    """Steps done."""
    n_steps: int
    """Most steps there will be; dev users may end it earlier."""
    loss: float | None = None
    """Of the last step; None before the first, NaN where it was left out."""
    dev_loss: float | None = None
    """At the last look at the dev users."""
    is_resumed: bool = False
    """Whether this is where a killed run goes on."""
    part: str = ""
    """Which of several trainings of one model, such as `adapter 2 of 4`."""


Watch = Callable[[Moment], None]
_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)
_PART: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def watched(watch: Watch | None) -> Iterator[None]:
    """While entered, every training of this thread tells the watcher of its steps."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


@contextmanager
def part(name: str) -> Iterator[None]:
    """While entered, what is told is of a part of the model."""
    token = _PART.set(name)
    try:
        yield
    finally:
        _PART.reset(token)


def tell(step: int, n_steps: int, *, loss: float | None = None, dev_loss: float | None = None) -> None:
    """Tell of a step done; nothing where nobody looks on."""
    _told(Moment(step, n_steps, loss, dev_loss, part=_PART.get()))


def tell_resumed(step: int, n_steps: int) -> None:
    """Tell that a killed run goes on behind a step."""
    _told(Moment(step, n_steps, is_resumed=True, part=_PART.get()))


def _told(moment: Moment) -> None:
    if (watch := _WATCH.get()) is not None:
        watch(moment)
