"""A change of taste, as a personal prompt records it: since when, how sure, and the pairs that prove it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drift:
    """Where a user's taste changed."""

    pair_id: str
    """Id of the first pair of the new taste."""
    pair_number: int
    """Its number in time order, 1 is the first."""
    n_pairs: int
    """How many pairs were looked at."""
    log_evidence: float
    """Log Bayes factor of two tastes against one."""
    chance: float
    """Share of random orders of the same conversations that look as changed."""
    features: tuple[str, ...]
    """Features that changed, most clearly changed first."""
    before: tuple[str, ...] = ()
    """Ids of the earlier pairs that show the old taste in the first of them."""
    since: tuple[str, ...] = ()
    """Ids of the later pairs that show the new one."""

    def line(self) -> str:
        """The change in a sentence.

        >>> Drift("p8", 8, 14, 3.5, 0.001, ("length",), ("p1", "p2"), ("p8", "p9")).line()
        'taste changed about pair 8 of 14 (p8): 2 earlier pairs show the old one, 2 later pairs the new one'
        """
        shown = f"{len(self.before)} earlier pairs show the old one, {len(self.since)} later pairs the new one"
        return f"taste changed about pair {self.pair_number} of {self.n_pairs} ({self.pair_id}): {shown}"
