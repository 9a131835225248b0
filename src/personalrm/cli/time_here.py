"""`--dry-run` of a model that runs on this machine: what is spent is time, and it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lm.opening import ModelName, open_model

if TYPE_CHECKING:
    from personalrm.lm.local.speed import Speed

FAST = 10.0
"""Tokens a second that need no decimals."""
LONG_H = 1.0
"""Hours from which on it is worth saying what would be shorter."""


def speed_here(model: ModelName) -> Speed | None:
    """How fast a GGUF file reads and writes here, measured in some seconds; None for a model elsewhere.

    Raises:
        BadFile: If it cannot be read.
        ModelUnavailable: If it cannot be run.
    """
    if not model.is_file:
        return None
    from personalrm.lm.local.model import LocalModel
    from personalrm.lm.local.speed import measure_speed

    opened = open_model(model)
    assert isinstance(opened, LocalModel)
    return measure_speed(opened)


def told_hours(speed: Speed, hours: float, shorter: str) -> str:
    """The time in a sentence, and from an hour on what would take less.

    Args:
        speed: As measured.
        hours: At most.
        shorter: What would take less, such as `--trials 1`.
    """
    minutes = 60 * hours
    time = f"{hours:.1f} hours" if hours >= LONG_H else f"{max(1, round(minutes))} min"
    read, written = (f"{rate:,.0f}" if rate >= FAST else f"{rate:.1f}" for rate in (speed.read, speed.written))
    rates = f"it reads {read} and writes {written} tokens a second, {speed.n_slots} requests at a time"
    line = f"on this machine at most about {time}: {rates}; beginnings in common are read once"
    return f"{line}\nshorter: {shorter}" if hours >= LONG_H else line
