"""Paired comparisons and slopes of a run, on the pairs that both sides judged.

Three families, each Holm-corrected within its dataset: against the reference (the default judge
with the same model, else the population), against the same method with somebody else's
persona, and against the best method of the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.arrays import Measured, common_pairs, measure
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import MethodInfo
from personalrm.errors import BadInput, CorruptFile
from personalrm.stats.arrays import FloatArray
from personalrm.stats.paired import Comparison, compare, holm
from personalrm.stats.slopes import Slope, clustered_slope

ComparisonKind = Literal["reference", "shuffled_user", "best"]
REFERENCES = ("default", "population", "longer")
"""What a method is held against, the first that was run: with the same model, else without one."""


@dataclass(frozen=True)
class PairedRow:
    """One method minus another on the same pairs."""

    kind: ComparisonKind
    cell: Cell
    other: Cell
    comparison: Comparison
    p_holm: float
    """Sign-flip p after Holm over the comparisons of this kind on this dataset."""


@dataclass(frozen=True)
class SlopeRow:
    """Accuracy against the number of context pairs, for one method and model."""

    cell: Cell
    """With k left out."""
    numbers: tuple[int, ...]
    all_users: Slope
    """At each k the users with at least k context pairs, as in the paper; who they are changes with k."""
    same_users: Slope | None
    """Only the users who are there at every k, so that nothing but k changes; None when there are none."""


def comparisons(measured: Sequence[Measured], methods: Sequence[MethodInfo]) -> Iterator[PairedRow]:
    """All three families, dataset by dataset; cells without a counterpart are not in them."""
    by_cell = {judged.cell: judged for judged in measured}
    # the cells of Table 3: all context pairs, own prompts, no control
    main = [
        judged
        for judged in measured
        if (judged.cell.k, judged.cell.control) == (None, None) and judged.cell.teacher in (None, judged.cell.model)
    ]
    personal = {method.name for method in methods if method.is_personal}
    partners: dict[ComparisonKind, Callable[[Measured], Measured | None]] = {
        "reference": lambda one: _reference(one.cell, by_cell, personal),
        "shuffled_user": lambda one: by_cell.get(replace(one.cell, control="shuffled_user")),
        "best": lambda one: _best(one, main),
    }
    for kind, partner in partners.items():
        candidates = main if kind != "shuffled_user" else [judged for judged in measured if judged.cell.control is None]
        for dataset in sorted({judged.cell.dataset for judged in candidates}):
            found = []
            for judged in candidates:
                if judged.cell.dataset == dataset and (other := partner(judged)):
                    correct, correct_other, users = common_pairs(judged, other)
                    if users:
                        found.append((judged.cell, other.cell, compare(correct, correct_other, users)))
            adjusted = holm([comparison.p for _, _, comparison in found])
            for row, p_holm in zip(found, adjusted, strict=True):
                yield PairedRow(kind, *row, p_holm)


def _reference(cell: Cell, by_cell: Mapping[Cell, Measured], personal: set[str]) -> Measured | None:
    """What a method is held against; None for the references themselves."""
    if cell.method in REFERENCES and cell.method not in personal:
        return None
    for method in REFERENCES:
        for model in dict.fromkeys((cell.model, None)):
            if (other := by_cell.get(Cell(cell.dataset, method, model))) is not None:
                return other
    return None


def _best(one: Measured, main: Sequence[Measured]) -> Measured | None:
    """The most accurate method with the same model on the same dataset; None when it is `one` itself."""
    same = [other for other in main if (other.cell.dataset, other.cell.model) == (one.cell.dataset, one.cell.model)]
    best = max(same, key=lambda other: float(other.correct.mean()))
    return None if best is one else best


def slopes(measured: Sequence[Measured]) -> Iterator[SlopeRow]:
    """One slope for every method and model that was run at two or more numbers of context pairs."""
    curves: dict[Cell, dict[int, Measured]] = {}
    for judged in measured:
        if judged.cell.k is not None and judged.cell.control is None:
            curves.setdefault(replace(judged.cell, k=None), {})[judged.cell.k] = judged
    for cell, points in curves.items():
        if len(points) > 1:
            numbers = sorted(points)
            sums, counts = totals([points[k] for k in numbers])
            x = np.array(numbers, dtype=np.float64)
            always = (counts > 0).all(axis=1)
            same = clustered_slope(x, sums[always], counts[always]) if always.any() else None
            yield SlopeRow(cell, tuple(numbers), clustered_slope(x, sums, counts), same)


def totals(points: Sequence[Measured]) -> tuple[FloatArray, FloatArray]:
    """Sums of correctness and numbers of pairs, shape `(users, points)` each."""
    places = {user: place for place, user in enumerate(sorted({user for point in points for user in point.users}))}
    sums, counts = np.zeros((len(places), len(points))), np.zeros((len(places), len(points)))
    for column, point in enumerate(points):
        rows = np.array([places[user] for user in point.users])
        np.add.at(sums[:, column], rows, point.correct)
        np.add.at(counts[:, column], rows, 1.0)
    return sums, counts


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
    of_b = {judged.cell: judged for judged in _readable(b)}
    compared = []
    for in_a in _readable(a):
        if (in_b := of_b.get(in_a.cell)) is None:
            continue
        correct_a, correct_b, users = common_pairs(in_a, in_b)
        if not users:
            continue
        comparison = compare(correct_b, correct_a, users)
        n_only_one = len(in_a.pairs) + len(in_b.pairs) - 2 * len(users)
        means = float(correct_a.mean()), float(correct_b.mean())
        compared.append(ComparedCell(in_a.cell, *means, comparison, comparison.p, n_only_one))
    if not compared:
        raise BadInput(
            f"runs {str(a.path)!r} and {str(b.path)!r} share no cell with common pairs; compare runs of the same "
            "datasets, methods and models"
        )
    adjusted = holm([cell.comparison.p for cell in compared])
    return [replace(cell, p_holm=p) for cell, p in zip(compared, adjusted, strict=True)]


def _readable(folder: RunFolder) -> list[Measured]:
    """Every finished cell, seeds joined.

    Raises:
        CorruptFile: If a file is damaged: what is compared must be whole.
    """
    measured, left_out = measure([folder])
    if left_out:
        raise CorruptFile(f"{left_out[0]} (run {str(folder.path)!r}); personalrm bench validate lists all")
    return [
        judged for judged in measured if judged.cell.control != "identical"
    ]  # the A/A test has no accuracy to compare
