"""The judgements of a run as arrays: one `Measured` for all cells that differ only in their seed.

Seeds, derangements and draws of context pairs are repetitions: a pair's correctness is its mean
over them, and the unit of every interval stays the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import JudgementRow, TargetRow
from personalrm.errors import CorruptFile, NewerVersion
from personalrm.stats.accuracy import correctness
from personalrm.stats.arrays import BoolArray, FloatArray, IntArray
from personalrm.stats.orders import OrderedOutcome, combine_orders


@dataclass(frozen=True, eq=False, repr=False)
class Measured:
    """Everything judged under one cell, whatever the seed."""

    cell: Cell
    """With seed 0."""
    seeds: tuple[int, ...]
    pairs: tuple[str, ...]
    """Shape `(pairs,)`, hashes."""
    users: tuple[str, ...]
    """Shape `(pairs,)`, the owner of each."""
    correct: FloatArray
    """Shape `(pairs,)`, mean correctness over seeds and draws."""
    margins: FloatArray
    """Shape `(judgements,)`, both orders averaged; NaN where unscored."""
    place: IntArray
    """Shape `(judgements,)`, the pair of each."""
    seed_of: IntArray
    """Shape `(judgements,)`, place of its seed in `seeds`."""
    first: FloatArray
    """Shape `(judgements,)`, mean probability of whatever stood first; NaN unless both orders were read."""
    orders: OrderedOutcome | None
    """Of the judgements that came in orders; None when none did."""
    reasons: Mapping[str, int]
    """Why orders or pairs are unscored -> judgements, most frequent first."""

    @property
    def unscored(self) -> BoolArray:
        """Shape `(judgements,)`."""
        return np.isnan(self.margins)

    @property
    def n_unscored(self) -> int:
        """Judgements without a verdict in either order."""
        return int(self.unscored.sum())

    def of_seed(self, number: int) -> FloatArray:
        """Correctness of the judgements of one seed."""
        return correctness(self.margins[self.seed_of == number])


def measure(folders: Sequence[RunFolder]) -> tuple[list[Measured], list[str]]:
    """Every finished cell of the runs, and one sentence for each file that cannot be read.

    A damaged file is left out and named; the rest is measured. The same cell in two runs is
    taken from the first.
    """
    groups: dict[Cell, dict[int, tuple[JudgementRow, ...]]] = {}
    left_out: list[str] = []
    for folder in folders:
        cells, damaged = folder.readable_cells()
        left_out += damaged
        for cell in cells:
            seeds = groups.setdefault(replace(cell, seed=0), {})
            if cell.seed in seeds:
                left_out.append(f"cell {cell.name!r} of {folder.path.name!r} is also in an earlier run, which counts")
                continue
            try:
                seeds[cell.seed] = tuple(folder.rows(cell))
            except (CorruptFile, NewerVersion) as error:
                left_out.append(str(error))
    measured = []
    for cell in sorted(groups, key=lambda cell: cell.name):
        if any(groups[cell].values()):
            measured.append(measured_of(cell, groups[cell]))
        elif groups[cell]:
            left_out.append(f"cell {cell.name!r} holds no judgements")
    return measured, left_out


def measured_of(cell: Cell, seeds: Mapping[int, Sequence[JudgementRow]]) -> Measured:
    """The judgements of a cell, by seed, as arrays; at least one judgement."""
    rows = [row for rows in seeds.values() for row in rows]
    keys = sorted({(row.user, row.pair) for row in rows})
    places = {key: place for place, key in enumerate(keys)}
    place = np.array([places[row.user, row.pair] for row in rows])
    first, second, margin = (  # None becomes NaN
        np.array([getattr(row, name) for row in rows], dtype=np.float64)
        for name in ("chosen_first", "chosen_second", "margin")
    )
    is_ordered = np.isnan(margin)
    # Rounded, because 1 - 0.7 and 0.3 differ in the last bit, and a tie must stay one.
    orders = combine_orders(first[is_ordered], np.round(1.0 - second[is_ordered], 9)) if is_ordered.any() else None
    first_of_both = np.full(len(rows), np.nan)
    if orders is not None:
        first_of_both[is_ordered] = orders.first
        margin[is_ordered] = np.where(np.abs(orders.margins) < 1e-9, 0.0, orders.margins)
    sums = np.bincount(place, weights=correctness(margin))
    reasons = Counter(row.unscored for row in rows if row.unscored)
    return Measured(
        cell=cell,
        seeds=tuple(seeds),
        pairs=tuple(pair for _, pair in keys),
        users=tuple(user for user, _ in keys),
        correct=sums / np.bincount(place),
        margins=margin,
        place=place,
        seed_of=np.repeat(np.arange(len(seeds)), [len(rows) for rows in seeds.values()]),
        first=first_of_both,
        orders=orders if orders is not None and not np.isnan(orders.accuracy_orders) else None,
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )


def common_pairs(a: Measured, b: Measured) -> tuple[FloatArray, FloatArray, list[str]]:
    """Correctness of both on the pairs that both judged, and the owners; shapes `(common,)`."""
    of_b = {pair: place for place, pair in enumerate(b.pairs)}
    places = [(place, of_b[pair]) for place, pair in enumerate(a.pairs) if pair in of_b]
    at_a = np.array([place for place, _ in places], dtype=np.int64)
    at_b = np.array([place for _, place in places], dtype=np.int64)
    return a.correct[at_a], b.correct[at_b], [a.users[place] for place in at_a]


def lengths(measured: Measured, targets: Iterable[TargetRow]) -> tuple[FloatArray, FloatArray] | None:
    """Characters of chosen and rejected, shape `(judgements,)` each; None when a pair is not among the targets."""
    known = {target.pair: (target.chosen_characters, target.rejected_characters) for target in targets}
    if not all(pair in known for pair in measured.pairs):
        return None
    table = np.array([known[pair] for pair in measured.pairs], dtype=np.float64)  # (pairs, 2)
    return table[measured.place, 0], table[measured.place, 1]
