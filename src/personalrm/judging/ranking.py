"""The order of several completions for one user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ranking:
    """Completions from best to worst for one user."""

    best: int
    """Index of the best completion in the input."""
    order: tuple[int, ...]
    """All indices, best first; equal rewards keep the order of the input."""
    rewards: tuple[float, ...]
    """Of each completion in input order: by the embedded engine relative to the first one, by a judge the
    mean probability of winning (round robin) or the rounds survived (knockout)."""
