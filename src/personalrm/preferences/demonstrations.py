"""A demonstration: a context pair shown inside a prompt, with or without reasoning."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.preferences.pairs import OrderedPair


@dataclass(frozen=True, repr=False)
class Demonstration:
    """A choice of the user that a judge may learn from."""

    shown: OrderedPair
    """The pair in the order in which it is shown."""
    reasoning: str | None = None
    """Why the user chose so, if a judge's reasoning reached the real choice; else None."""

    @property
    def has_reasoning(self) -> bool:
        """Whether this is a bootstrapped demonstration rather than a plain one."""
        return self.reasoning is not None

    def __repr__(self) -> str:
        return f"Demonstration(pair={self.shown.pair.id!r}, has_reasoning={self.has_reasoning})"
