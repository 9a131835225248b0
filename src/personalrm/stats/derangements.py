"""Derangements for the shuffled-user control: everybody gets somebody else's persona."""

from __future__ import annotations

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.arrays import IntArray


def derangements(n: int, count: int = 20, *, seed: int = 0) -> IntArray:
    """Random permutations without a fixed point, each equally likely, shape `(count, n)`.

    Row r gives user i what belongs to user `result[r, i]`. Permutations are drawn and
    those with a fixed point thrown away, about e draws each. Small n repeat: there is one
    derangement of two users and there are two of three.

    Args:
        n: Number of users.
        count: Number of derangements.
        seed: The same seed gives the same rows.

    Raises:
        BadInput: If there are fewer than two users or `count` is negative.

    >>> derangements(2, 1).tolist()
    [[1, 0]]
    """
    if n < 2:
        raise BadInput(f"the shuffled-user control needs at least two users, got {n!r}; leave the control out")
    if count < 0:
        raise BadInput(f"count must not be negative, got {count!r}; 20 is usual")
    rng = np.random.default_rng(seed)
    rows = np.empty((0, n), dtype=np.int64)
    while len(rows) < count:
        drawn = rng.permuted(np.tile(np.arange(n), (3 * (count - len(rows)), 1)), axis=1)  # (draws, n)
        rows = np.concatenate([rows, drawn[(drawn != np.arange(n)).all(axis=1)]])
    return rows[:count]
