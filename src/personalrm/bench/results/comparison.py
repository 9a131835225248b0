"""Two runs held against each other, cell by cell, on the pairs that both judged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.arrays import Measured, common_pairs, measure
from personalrm.bench.results.folder import RunFolder
from personalrm.errors import BadInput, CorruptFile
from personalrm.stats.paired import Comparison, compare, holm


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
    of_b = {one.cell: one for one in _readable(b)}
    both = [_compared(one, of_b[one.cell]) for one in _readable(a) if one.cell in of_b]
    found = [one for one in both if one is not None]
    if not found:
        raise BadInput(
            f"runs {str(a.path)!r} and {str(b.path)!r} share no cell with common pairs; compare runs of the same "
            "datasets, methods and models"
        )
    adjusted = holm([one.comparison.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def _readable(folder: RunFolder) -> list[Measured]:
    """Every finished cell, seeds joined.

    Raises:
        CorruptFile: If a file is damaged: what is compared must be whole.
    """
    measured, left_out = measure([folder])
    if left_out:
        raise CorruptFile(f"{left_out[0]} (run {str(folder.path)!r}); personalrm bench validate lists all")
    return [one for one in measured if one.cell.control != "identical"]  # the A/A test has no accuracy to compare


def _compared(a: Measured, b: Measured) -> ComparedCell | None:
    """b minus a on the pairs that both judged; None when there are none."""
    correct_a, correct_b, users = common_pairs(a, b)
    if not users:
        return None
    comparison = compare(correct_b, correct_a, users)
    n_only_one = len(a.pairs) + len(b.pairs) - 2 * len(users)
    return ComparedCell(a.cell, float(correct_a.mean()), float(correct_b.mean()), comparison, comparison.p, n_only_one)
