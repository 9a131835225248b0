"""Options of the door: retries, limits, budgets."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

from personalrm.errors import BadInput


@dataclass(frozen=True)
class Retry:
    """How long a request is tried."""

    max_attempts: int = 6
    """Attempts at one request that fail in transport (status, reset, time-out, garbage)."""
    max_rereads: int = 3
    """How often a reply that cannot be read is asked again, with another seed."""
    base_s: float = 0.5
    """First pause; doubled each time."""
    max_pause_s: float = 60.0
    """Longest single pause; caps Retry-After too."""
    max_total_s: float = 600.0
    """After this much time no further attempt is made; 429 may use all of it whatever their number."""
    waits_for_server: bool = True
    """Whether a refused connection is tried again, as a server may be starting; a check wants to know at once."""

    def __post_init__(self) -> None:
        for name in ("max_attempts", "base_s", "max_pause_s", "max_total_s"):
            _positive(name, getattr(self, name))
        if self.max_rereads < 0:
            raise BadInput(f"max_rereads must be at least 0, got {self.max_rereads!r}")


@dataclass(frozen=True)
class Limits:
    """What may leave this process."""

    max_in_flight: int = 64
    """Requests under way at one time."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Prompt and completion tokens together."""

    def __post_init__(self) -> None:
        _positive("max_in_flight", self.max_in_flight)
        for name in ("requests_per_minute", "tokens_per_minute"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))


class Pot:
    """What has been spent and reserved by all who share a budget; several threads may use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_calls = 0
        self.cost = 0.0
        self.reserved = 0.0


@dataclass(frozen=True)
class Budget:
    """What may be spent; every request that leaves counts, whether it succeeds or not."""

    max_calls: int | None = None
    max_cost: float | None = None
    """In the currency of the price table (US dollars in ours)."""
    pot: Pot | None = field(default=None, compare=False)
    """Shared with the budgets of other callers that were given the same pot; None is a pot of one's own."""

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_cost"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise BadInput(f"{name} must be a positive number, got {value!r}")
