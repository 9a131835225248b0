"""What can go wrong with one attempt, and what to do about each."""

from __future__ import annotations

from typing import Literal

Again = Literal["same", "reseeded", "never", "stop"]
"""`same`: try again unchanged; `reseeded`: ask again with another seed; `never`: this request is
hopeless; `stop`: every request is (a wrong key, an unknown model)."""


class Fault(Exception):
    """One attempt failed; never leaves `lm/` (callers see outcomes and typed errors)."""

    def __init__(
        self,
        kind: str,
        again: Again,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        feature: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.again = again
        self.status = status
        self.retry_after_s = retry_after_s
        self.feature = feature
        """A part of the request the server does not take (`schema`, `logprobs`, `seed`); send without it."""
        self.advice = advice
        """What to do, where the door knows better than to check the key, the name and the base URL."""
