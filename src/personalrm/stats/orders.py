"""Both orders of a pair made into one outcome.

A judge sees every pair twice, chosen first and chosen second, and says how probable it
is that the *first* completion is preferred. Here the two become one margin; position
bias cancels, and what was read in one order only is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from personalrm.errors import BadInput
from personalrm.stats.accuracy import correctness
from personalrm.stats.arrays import BoolArray, FloatArray


@dataclass(frozen=True, eq=False, repr=False)
class OrderedOutcome:
    """What a judge's two orders say about each pair."""

    margins: FloatArray
    """Shape `(pairs,)`, in [-0.5, 0.5]: mean probability of the chosen completion minus 0.5; NaN where unscored."""
    half_scored: BoolArray
    """Shape `(pairs,)`, only one order was read and decides."""
    unscored: BoolArray
    """Shape `(pairs,)`, neither order was read."""
    position_consistency: float
    """Share of the pairs read in both orders on which both name the same completion; NaN when there are none."""
    first_share: float
    """Mean probability given to the first completion over pairs read in both orders, 0.5 without bias; or NaN."""
    accuracy_orders: float
    """The paper's accuracy: mean over single orders, an unscored one counting 0.5; NaN when nothing was scored."""
    first: FloatArray = field(default_factory=lambda: np.empty(0))
    """Shape `(pairs,)`, mean probability given to the first completion; NaN unless both orders were read."""
    single_orders: FloatArray = field(default_factory=lambda: np.empty(0))
    """Shape `(2 pairs,)`, correctness of single orders, what the paper's interval resamples; empty without orders."""

    @property
    def probabilities(self) -> FloatArray:
        """Shape `(pairs,)`, probability of the chosen completion; NaN where unscored."""
        return self.margins + 0.5

    @property
    def n_half_scored(self) -> int:
        """Pairs decided by one order."""
        return int(self.half_scored.sum())

    @property
    def n_unscored(self) -> int:
        """Pairs decided by none."""
        return int(self.unscored.sum())

    def __repr__(self) -> str:
        return (
            f"OrderedOutcome(pairs={len(self.margins)}, half_scored={self.n_half_scored}, unscored={self.n_unscored})"
        )


def combine_orders(chosen_first: FloatArray, chosen_second: FloatArray) -> OrderedOutcome:
    """One outcome a pair from both orders.

    A pair is right when the mean probability of the chosen completion is above 0.5, and a
    tie at exactly 0.5, as when 0/1 verdicts disagree.

    Args:
        chosen_first: Shape `(pairs,)`, the probability that the *first* completion is
            preferred, read where the chosen one stood first; NaN when that order is unscored.
        chosen_second: Shape `(pairs,)`, the probability that the *first* completion is
            preferred, read where the chosen one stood second (so low is right); NaN likewise.

    Raises:
        BadInput: If the shapes differ or a value lies outside [0, 1].

    >>> combine_orders(np.array([0.9, 1.0, np.nan]), np.array([0.3, 1.0, 0.2])).margins.round(3).tolist()
    [0.3, 0.0, 0.3]
    """
    p12, p21 = np.asarray(chosen_first, dtype=np.float64), np.asarray(chosen_second, dtype=np.float64)
    if p12.shape != p21.shape or p12.ndim != 1:
        raise BadInput(f"both orders need the same pairs, got shapes {p12.shape!r} and {p21.shape!r}")
    for name, values in (("chosen_first", p12), ("chosen_second", p21)):
        if ((values < 0.0) | (values > 1.0)).any():
            raise BadInput(f"{name} holds values outside [0, 1]; pass probabilities, or NaN where unscored")
    read_12, read_21 = ~np.isnan(p12), ~np.isnan(p21)
    both = read_12 & read_21
    # (p12 - p21) / 2 and not a mean of p12 and 1 - p21: equal probabilities must give exactly zero.
    margins = np.where(both, (p12 - p21) / 2, np.where(read_12, p12 - 0.5, 0.5 - p21))
    agree = np.sign(p12[both] - 0.5) == -np.sign(p21[both] - 0.5)
    single = np.concatenate([correctness(p12 - 0.5), correctness(0.5 - p21)])
    return OrderedOutcome(
        margins=margins,
        half_scored=read_12 ^ read_21,
        unscored=~(read_12 | read_21),
        position_consistency=_mean(agree.astype(np.float64)),
        first_share=_mean((p12[both] + p21[both]) / 2),
        first=np.where(both, (p12 + p21) / 2, np.nan),
        accuracy_orders=_mean(single) if (read_12 | read_21).any() else float("nan"),
        single_orders=single,
    )


def _mean(values: FloatArray) -> float:
    """The mean, NaN of nothing (without numpy's warning)."""
    return float(values.mean()) if values.size else float("nan")
