"""What `bench personas` left in a run: the files of `experiments/`, and how tables name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.material import Material
from personalrm.typed_values import saved_value

AGAIN = "remove the file and run bench personas again"


@dataclass(frozen=True)
class ExperimentFile:
    """One file of a run's `experiments/`."""

    cell: Cell
    content: Mapping[str, Any]


def found_in(material: Material, what: str) -> list[ExperimentFile]:
    """Every file of an experiment in the runs of the report."""
    return [
        ExperimentFile(saved_value(Cell, content.get("cell"), f"the cell of experiments/{what}", again=AGAIN), content)
        for folder in material.folders
        for content in folder.experiments(what)
    ]


def title_of(material: Material, found: ExperimentFile) -> str:
    """Dataset, method and model whose personas were asked about."""
    seed = f", seed {found.cell.seed}" if found.cell.seed else ""
    return f"{found.cell.dataset}: {material.title(found.cell.method)}, {material.label(found.cell.model)}{seed}"


def judge_of(found: ExperimentFile) -> str:
    """Who was asked."""
    return f"{found.content['judge']}{' (scripted)' if found.content.get('is_scripted') else ''}"


def or_nan(value: float | None) -> float:
    """The value, NaN where none was measured."""
    return float("nan") if value is None else value
