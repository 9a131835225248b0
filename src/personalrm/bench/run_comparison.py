"""Two runs held against each other, cell by cell, on the pairs that both judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.bench.method import Judgement, outcome_of
from personalrm.bench.run_folder import RunFolder
from personalrm.bench.run_records import Cell
from personalrm.errors import BadInput
from personalrm.stats.accuracy import correctness
from personalrm.stats.paired import Comparison, compare, holm

Key = tuple[str, str]
"""User and hash of a pair."""


@dataclass(frozen=True)
class ComparedCell:
    """The same cell in both runs: b minus a."""

    cell: Cell
    accuracy_a: float
    accuracy_b: float
    comparison: Comparison
    p_holm: float
    """The sign-flip p after Holm over all cells compared."""
    n_only_one: int
    """Pairs that only one of the runs judged, left out."""


def compare_runs(a: RunFolder, b: RunFolder) -> list[ComparedCell]:
    """Every cell that both runs have finished, seeds averaged, with a paired test and Holm over the table.

    Raises:
        BadFile: If a folder holds no run.
        BadInput: If the runs share no cell, or no pair.
    """
    for folder in (a, b):
        folder.info()
    cells_a, cells_b = _by_method(a), _by_method(b)
    common = [cell for cell in cells_a if cell in cells_b]
    found = [one for cell in common if (one := _compared(cell, (a, cells_a[cell]), (b, cells_b[cell]))) is not None]
    if not found:
        raise BadInput(
            f"runs {str(a.path)!r} and {str(b.path)!r} share no cell with common pairs; compare runs of the same "
            "datasets, methods and models"
        )
    adjusted = holm([one.comparison.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def _by_method(folder: RunFolder) -> dict[Cell, list[Cell]]:
    """Finished cells that differ in their seed only, by the one with seed 0."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in folder.cells():
        groups.setdefault(replace(cell, seed=0), []).append(cell)
    return groups


def _compared(
    cell: Cell, a: tuple[RunFolder, Sequence[Cell]], b: tuple[RunFolder, Sequence[Cell]]
) -> ComparedCell | None:
    of_a, of_b = _correct(*a), _correct(*b)
    common = sorted(of_a.keys() & of_b.keys())
    if not common:
        return None
    values_a, values_b = (np.array([values[key] for key in common]) for values in (of_a, of_b))
    comparison = compare(values_b, values_a, [user for user, _ in common])
    n_only_one = len(of_a.keys() ^ of_b.keys())
    return ComparedCell(cell, float(values_a.mean()), float(values_b.mean()), comparison, comparison.p, n_only_one)


def _correct(folder: RunFolder, cells: Sequence[Cell]) -> dict[Key, float]:
    """Correctness of every pair, the mean over seeds and draws."""
    rows = [row for cell in cells for row in folder.rows(cell)]
    outcome = outcome_of([Judgement(row.chosen_first, row.chosen_second, row.margin) for row in rows])
    values: dict[Key, list[float]] = {}
    for row, correct in zip(rows, correctness(outcome.margins).tolist(), strict=True):
        values.setdefault((row.user, row.pair), []).append(correct)
    return {key: sum(one) / len(one) for key, one in values.items()}
