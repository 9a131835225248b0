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


def time_here(
    model: ModelName, prompt_tokens: int, completion_tokens: int, *, shorter: str
) -> tuple[float, str] | None:
    """Hours that so many tokens take on this machine at most, and a sentence; None for a model elsewhere.

    Args:
        model: Whose speed is measured, in some seconds.
        prompt_tokens: To be read.
        completion_tokens: To be written.
        shorter: What would take less, such as `--trials 1`; told from an hour on.

    Raises:
        BadFile: If the file cannot be read.
        ModelUnavailable: If it cannot be run.
    """
    if not model.is_file:
        return None
    speed = speed_of(model)
    hours = speed.hours(prompt_tokens, completion_tokens)
    time = f"{hours:.1f} hours" if hours >= LONG_H else f"{max(1, round(60 * hours))} min"
    read, written = (f"{rate:,.0f}" if rate >= FAST else f"{rate:.1f}" for rate in (speed.read, speed.written))
    rates = f"it reads {read} and writes {written} tokens a second, {speed.n_slots} requests at a time"
    line = f"on this machine at most about {time}: {rates}; beginnings in common are read once"
    return hours, f"{line}\nshorter: {shorter}" if hours >= LONG_H else line


def speed_of(model: ModelName) -> Speed:
    """How fast a GGUF file reads and writes here."""
    from personalrm.lm.local.model import LocalModel
    from personalrm.lm.local.speed import measure_speed

    opened = open_model(model)
    assert isinstance(opened, LocalModel)
    return measure_speed(opened)
