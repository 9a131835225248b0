"""Draws keyed by what they are about, so that a new pair never changes an old draw."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import OrderedPair, PreferencePair


def keyed_uniform(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int(digest(*key)[:13], 16) / 16.0**13


def in_balanced_order(pairs: Sequence[PreferencePair], seed: int) -> list[OrderedPair]:
    """Each pair in the order in which it is shown: as many chosen-first as chosen-second, give or take one.

    Neighbours in time form couples; a draw keyed by the first of a couple decides its
    order, the second takes the other. Pairs appended later leave the earlier ones as they were.
    """
    shown: list[OrderedPair] = []
    for place, pair in enumerate(pairs):
        if place % 2 == 0:
            shown.append(OrderedPair(pair, chosen_first=keyed_uniform("order", seed, pair.hash) < 0.5))
        else:
            shown.append(OrderedPair(pair, chosen_first=not shown[-1].chosen_first))
    return shown
