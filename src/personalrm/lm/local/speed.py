"""How fast a model reads and writes on this machine, measured in a few seconds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from personalrm.errors import ModelUnavailable
from personalrm.lm.local.model import LocalModel
from personalrm.lm.protocol import Fault, Request, Sampling, Usage
from personalrm.preferences.messages import Message

LONG_ENOUGH_S = 1.2
"""A measurement that took so long is taken; before that prompts and replies grow."""
FIRST_WORDS, MOST_WORDS = 32, 4_096
FIRST_TOKENS, MOST_TOKENS = 8, 512
GROWTH = 4


@dataclass(frozen=True)
class Speed:
    """Tokens a second, of all slots together."""

    read: float
    written: float
    n_slots: int

    def hours(self, prompt_tokens: int, completion_tokens: int) -> float:
        """How long so many tokens take."""
        return (prompt_tokens / self.read + completion_tokens / self.written) / 3600


def measure_speed(model: LocalModel) -> Speed:
    """Ask as many requests at one time as it has slots, longer ones until a second has passed; closes the model.

    Raises:
        ModelUnavailable: If the model cannot be run.
    """
    return asyncio.run(_measured(model))


async def _measured(model: LocalModel) -> Speed:
    n_slots = model.size.n_slots
    try:
        await _ask(model, FIRST_WORDS, 1, "loading")
        n_words, read = FIRST_WORDS, 0.0
        while not read:
            seconds, n_read, _ = await _ask(model, n_words, 1, f"of {n_words} words")
            if seconds >= LONG_ENOUGH_S or n_words >= min(MOST_WORDS, model.context_tokens // 4):
                read = n_read / seconds
            n_words *= GROWTH
        n_tokens, written = FIRST_TOKENS, 0.0
        while not written:
            # The prompt was just read, so that hardly anything but writing is left.
            seconds, _, n_written = await _ask(model, FIRST_WORDS, n_tokens, "loading")
            if seconds >= LONG_ENOUGH_S or n_tokens >= min(MOST_TOKENS, model.context_tokens // 4):
                written = n_written / seconds
            n_tokens *= GROWTH
        return Speed(read, written, n_slots)
    finally:
        await model.close()


async def _ask(model: LocalModel, n_words: int, n_tokens: int, name: str) -> tuple[float, int, int]:
    """Seconds, tokens read and tokens written of one request a slot, which have no beginning in common."""
    requests = [
        Request(
            (Message("user", f"{slot} {name}: " + " ".join(f"{(slot + 7 * n) % 89}" for n in range(n_words))),),
            Sampling(max_tokens=n_tokens),
        )
        for slot in range(model.size.n_slots)
    ]
    began = time.perf_counter()
    usages = await asyncio.gather(*(_usage(model, request) for request in requests))
    seconds = max(1e-3, time.perf_counter() - began)
    return seconds, sum(u.prompt_tokens for u in usages), max(1, sum(u.completion_tokens for u in usages))


async def _usage(model: LocalModel, request: Request) -> Usage:
    """What a reply took; most are cut off, as they are meant to be."""
    try:
        return (await model.complete(request, seed=0)).usage
    except Fault as fault:
        if fault.usage is None:
            raise ModelUnavailable(f"model {model.name!r} gives no usable reply ({fault.told()})") from None
        return fault.usage
