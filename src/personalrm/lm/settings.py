"""How models are called: retries, limits, budgets."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from personalrm.settings import check_bounds, setting


@dataclass(frozen=True)
class Retry:
    """How long a request is tried."""

    max_attempts: int = setting(6, "tries of a failing request", flag="attempts", metavar="N", least=1)
    """Attempts at one request that fail in transport (status, reset, time-out, garbage)."""
    max_rereads: int = setting(3, least=0)
    """How often a reply that cannot be read is asked again, with another seed."""
    base_s: float = setting(0.5, "first pause, doubled", flag="retry-pause", metavar="S", above=0)
    """First pause; doubled each time."""
    max_pause_s: float = setting(60.0, above=0)
    """Longest single pause; caps Retry-After too."""
    max_total_s: float = setting(600.0, above=0)
    """After this much time no further attempt is made; 429 may use all of it whatever their number."""
    waits_for_server: bool = True
    """Whether a refused connection is tried again, as a server may be starting; a check wants to know at once."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True)
class Limits:
    """What may leave this process."""

    max_in_flight: int = setting(64, "requests at one time", flag="max-in-flight", metavar="N", least=1)
    """Requests under way at one time."""
    requests_per_minute: float | None = setting(
        None, "rate limit to keep", flag="requests-per-minute", metavar="N", unset="none", above=0
    )
    tokens_per_minute: float | None = setting(
        None, "rate limit to keep", flag="tokens-per-minute", metavar="N", unset="none", above=0
    )
    """Prompt and completion tokens together."""

    def __post_init__(self) -> None:
        check_bounds(self)


class Pot:
    """What has been spent and reserved by all who share a budget; several threads may use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_calls = 0
        self.cost = 0.0
        self.reserved = 0.0
        self.n_reserved = 0
        """Requests under way."""
        self.overrun = 0.0
        """The most that a request has cost beyond its reservation."""
        self.reckoned = 0.0
        """Of the cost, what nobody counted, so that the whole reservation was taken."""
        self.is_known = False
        """Whether any request has shown what it costs."""


@dataclass(frozen=True)
class Budget:
    """What may be spent; every request that leaves counts, whether it succeeds or not."""

    max_calls: int | None = setting(
        None, "stop before more requests leave than this", flag="max-calls", metavar="N", unset="no limit", least=1
    )
    max_cost: float | None = setting(
        None, "stop before more could be spent than this", flag="max-cost", metavar="USD", unset="no limit", above=0
    )
    """In the currency of the price table (US dollars in ours)."""
    pot: Pot | None = field(default=None, compare=False)
    """Shared with the budgets of other callers that were given the same pot; None is a pot of one's own."""

    def __post_init__(self) -> None:
        check_bounds(self)
