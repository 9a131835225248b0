"""What a fake server saw: requests, calls, faults, tokens, and how prompts shared their beginnings."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

BLOCK = 512
"""Characters a block of the prefix accounting."""


@dataclass
class Log:
    """Counts since the start or the last reset."""

    n_requests: int = 0
    n_answered: int = 0
    """Completions that were right and whole."""
    n_tokens: int = 0
    """Tokens of those, prompt and completion."""
    most_in_flight: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """Faults by kind, and plain statuses."""
    calls: dict[str, int] = field(default_factory=dict)
    """Requests a call, that is a body without its seed."""
    moments: list[float] = field(default_factory=list)
    """When each request came in, seconds since the server started."""
    refused_s: float | None = None
    """When access was refused for the first time."""
    n_blocks: int = 0
    n_blocks_seen: int = 0
    """Prompt blocks whose whole prefix a finished request had brought before."""
    blocks: set[int] = field(default_factory=set, repr=False)
    """The different ones, each with its whole prefix, as hashes."""

    def note(self, kind: str) -> None:
        """One fault or refusal more."""
        self.statuses[kind] = self.statuses.get(kind, 0) + 1

    def count_prefix(self, prompt: str) -> None:
        """What a server with prefix caching would have seen before."""
        block, seen = 0, True
        for at in range(0, len(prompt), BLOCK):
            block = hash((block, prompt[at : at + BLOCK]))  # 64 bits do for a log
            self.n_blocks += 1
            seen = seen and block in self.blocks
            self.n_blocks_seen += seen
            self.blocks.add(block)

    def summary(self) -> dict[str, Any]:
        """The counts, for benchmarks and tests."""
        return {
            "requests": self.n_requests,
            "calls": len(self.calls),
            "duplicates": self.n_requests - len(self.calls),
            "most_of_a_call": max(self.calls.values(), default=0),
            "answered": self.n_answered,
            "most_in_flight": self.most_in_flight,
            "statuses": dict(sorted(self.statuses.items())),
            "prefix_seen": self.n_blocks_seen / max(1, self.n_blocks),
            "prefix_optimum": 1.0 - len(self.blocks) / max(1, self.n_blocks),
            "first_s": min(self.moments, default=0.0),
            "last_s": max(self.moments, default=0.0),
            "tokens": self.n_tokens,
            "cpu_s": time.process_time(),
            "refused_s": self.refused_s,
        }
