"""The numbers of a run: accuracy with intervals, controls, gates and paired tests.

Everything the report prints is in here and in `summary.json`; a number that was not measured
is None (null), never zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.arrays import Measured, lengths, measure
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.paired import PairedRow, SlopeRow, comparisons, slopes
from personalrm.bench.results.records import RunInfo, TargetRow
from personalrm.errors import BadInput, NoScoredPairs, StoreError
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness
from personalrm.stats.bootstrap import Interval, cluster, clustered_mean, paper_interval
from personalrm.stats.calibration import Calibration, LengthStrata, calibration, length_strata
from personalrm.stats.runs import RunMean, run_mean
from personalrm.typed_values import finite, plain
from personalrm.wording import count

SUMMARY_VERSION = 1
Named = TypeVar("Named")


@dataclass(frozen=True)
class CellSummary:
    """One method with one model on one dataset, over all its seeds."""

    cell: Cell
    """With seed 0; `seeds` has the real ones."""
    seeds: tuple[int, ...]
    accuracy: Accuracy | None
    """Mean over pairs, each the mean over its judgements; None when nothing was scored."""
    n_judgements: int
    """Pairs x seeds x draws; `n_unscored`, `n_ties` and `n_half_scored` of `accuracy` count these."""
    n_unscored: int
    reasons: Mapping[str, int]
    """Why an order or a pair is unscored -> judgements."""
    runs: RunMean | None
    """Mean and interval over the seeds; None when nothing was scored."""
    accuracy_orders: float | None
    """The paper's accuracy over single orders; None for a scalar model."""
    paper_ci: Interval | None
    """The paper's interval over single judgements, clusters ignored."""
    position_consistency: float | None
    first_share: float | None
    """Mean probability of whatever is shown first, in the control `identical` of equals; 0.5 without bias."""
    first_interval: Interval | None
    """Interval of `first_share` over users; of the control `identical` only."""
    calibration: Calibration | None
    length: LengthStrata | None


@dataclass(frozen=True)
class Summary:
    """Everything measured in one or several runs."""

    run: RunInfo
    entries: tuple[CellSummary, ...]
    comparisons: tuple[PairedRow, ...]
    slopes: tuple[SlopeRow, ...]
    left_out: tuple[str, ...]
    """One sentence for each file or cell that could not be counted."""

    def entry(self, cell: Cell) -> CellSummary | None:
        """The entry of a cell with seed 0; None when it was not run."""
        return next((entry for entry in self.entries if entry.cell == cell), None)

    def paired(self, kind: str, cell: Cell) -> PairedRow | None:
        """The comparison of a kind in which the cell is the first; None when it was not made."""
        return next((row for row in self.comparisons if row.kind == kind and row.cell == cell), None)

    def to_json(self) -> str:
        """`summary.json`; NaN becomes null."""
        content = {"format_version": SUMMARY_VERSION, **finite(plain(self))}
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def summarize(folder: str | Path, *more: str | Path) -> Summary:
    """The numbers of a run, or of several read as one.

    Args:
        folder: A run folder.
        more: Further run folders; a cell that stands in two is taken from the first.

    Raises:
        BadFile: If a folder holds no run.
        BadInput: If no cell is finished.
    """
    folders = [RunFolder(path) for path in (folder, *more)]
    run = _joined([folder.info() for folder in folders])
    measured, left_out = measure(folders)
    if not measured:
        raise BadInput(
            f"no cell of {str(folder)!r} can be reported" + (f" ({left_out[0]})" if left_out else "") + "; run it first"
        )
    targets: dict[str, list[TargetRow]] = {judged.cell.dataset: [] for judged in measured}
    for folder_of_run, name in product(folders, targets):
        try:
            targets[name] += folder_of_run.targets(name)
        except StoreError as error:  # the lengths of these pairs are not known; all else is
            left_out.append(str(error))
    return Summary(
        run=run,
        entries=tuple(_entry(judged, lengths(judged, targets[judged.cell.dataset])) for judged in measured),
        comparisons=tuple(comparisons([judged for judged in measured if not judged.unscored.all()], run.methods)),
        slopes=tuple(slopes([judged for judged in measured if not judged.unscored.all()])),
        left_out=tuple(left_out),
    )


def _joined(infos: Sequence[RunInfo]) -> RunInfo:
    """One run that has the methods, models and datasets of all; the first to name one wins."""
    if len(infos) == 1:
        return infos[0]
    return RunInfo(
        name=" + ".join(info.name for info in infos),
        settings={info.name: info.settings for info in infos},
        versions=infos[0].versions,
        methods=_first((method.name, method) for info in infos for method in info.methods),
        models=_first((model.label, model) for info in infos for model in info.models),
        datasets=_first((dataset.name, dataset) for info in infos for dataset in info.datasets),
    )


def _first(named: Iterable[tuple[str, Named]]) -> tuple[Named, ...]:
    """One value a name, the first, in the order in which names come up."""
    found: dict[str, Named] = {}
    for name, value in named:
        found.setdefault(name, value)
    return tuple(found.values())


def _entry(measured: Measured, characters: tuple[np.ndarray, np.ndarray] | None) -> CellSummary:
    orders = measured.orders
    is_scored = not measured.unscored.all()
    first_interval = None
    if measured.cell.control == "identical":
        read = ~np.isnan(measured.first)
        users = [measured.users[place] for place in measured.place[read]]
        first_interval = clustered_mean(cluster(measured.first[read], users)).micro_interval if users else None
    return CellSummary(
        cell=measured.cell,
        seeds=measured.seeds,
        accuracy=accuracy_of(measured) if is_scored else None,
        n_judgements=len(measured.margins),
        n_unscored=measured.n_unscored,
        reasons=measured.reasons,
        runs=run_mean([measured.of_seed(k).mean() for k in range(len(measured.seeds))]) if is_scored else None,
        accuracy_orders=orders.accuracy_orders if orders else None,
        paper_ci=paper_interval(orders.single_orders if orders else measured.correct) if is_scored else None,
        position_consistency=_known(orders.position_consistency) if orders else None,
        first_share=_known(orders.first_share) if orders else None,
        first_interval=first_interval,
        calibration=calibration(orders.probabilities) if orders else None,
        length=length_strata(measured.margins, *characters) if characters and is_scored else None,
    )


def accuracy_of(measured: Measured) -> Accuracy:
    """Accuracy over pairs, each the mean over its judgements.

    Raises:
        NoScoredPairs: If no judgement could be read; what was not measured is not 0.5.
    """
    scored = ~measured.unscored
    if not scored.any():
        raise NoScoredPairs(
            f"none of {count(len(measured.pairs), 'pair')} was scored, so there is no accuracy to report"
        )
    return replace(
        mean_correctness(measured.correct, measured.users),
        accuracy_scored=float(correctness(measured.margins[scored]).mean()),
        n_unscored=measured.n_unscored,
        n_ties=int((measured.margins == 0).sum()),
        n_half_scored=measured.orders.n_half_scored if measured.orders else 0,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
