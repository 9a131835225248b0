"""Accuracy against the size of the model: a table and a picture a dataset (Figures 6 and 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from personalrm.bench.report.charts import (
    accuracy_fields,
    aside,
    aside_step,
    colour,
    percent_axis,
    points_with_bars,
    rule_at,
    specification,
)
from personalrm.bench.report.material import (
    SCRIPTED,
    Chart,
    Material,
    Section,
    accuracy_value,
    measured,
    sizes,
    slug,
    unscored,
)
from personalrm.bench.report.tables import Column, Table, TableRow
from personalrm.bench.results.records import MethodInfo, ModelInfo
from personalrm.bench.results.summary import EntrySummary


@dataclass(frozen=True)
class _Point:
    """One method at one size."""

    method: MethodInfo
    model: ModelInfo
    entry: EntrySummary


def size_section(material: Material) -> Section | None:
    """A line a method over the sizes of the models, for each dataset with two sizes."""
    tables, charts = [], []
    for dataset in material.datasets:
        points = _points(material, dataset.name)
        if len({one.model.n_parameters for one in points if one.entry.accuracy}) > 1:
            tables.append(_size_table(material, dataset.name, points))
            charts.append(_size_chart(dataset.name, points, material.is_scripted))
    text = ("Every model at its number of parameters. Points stand a little aside where bars would cover each other.",)
    return (
        Section("by-size", "Accuracy by size of the model", "Figures 6 and 7", text, tuple(tables), tuple(charts))
        if tables
        else None
    )


def _points(material: Material, dataset: str) -> list[_Point]:
    return [
        _Point(method, model, entry)
        for method in material.methods
        for model in material.models
        if model.n_parameters and (entry := material.main(dataset, method.name, model.label))
    ]


def _size_table(material: Material, dataset: str, points: list[_Point]) -> Table:
    models = [one for one in material.models if one.n_parameters]
    rows = tuple(
        TableRow(
            method.title,
            tuple(accuracy_value(material.main(dataset, method.name, one.label)) for one in models),
            method.group,
        )
        for method in dict.fromkeys(one.method for one in points)
    )
    entries = [one.entry for one in points]
    columns = tuple(Column(f"{material.label(one.label)}, {_billions(one)}") for one in models)
    caption = f"{dataset}: accuracy in percent by size of the model, {sizes(entries)}"
    notes = ("Brackets: 95 % interval over users.", unscored(entries))
    return Table(f"by-size-{slug(dataset)}", caption, "method", columns, rows, notes)


def _size_chart(dataset: str, points: list[_Point], is_scripted: bool) -> Chart:
    scored = [one for one in points if one.entry.accuracy]
    names = list(dict.fromkeys(one.method.title for one in scored))
    rows: list[dict[str, Any]] = [
        {"method": one.method.title, "parameters": (one.model.n_parameters or 0) / 1e9, **accuracy_fields(one.entry)}
        for one in scored
    ]
    step = aside_step([math.log(row["parameters"]) for row in rows], len(names))
    for row in rows:  # the axis is logarithmic
        row["at"] = row["parameters"] * math.exp(aside(names.index(row["method"]), len(names), step))
    x = {
        "field": "at", "type": "quantitative", "scale": {"type": "log", "nice": False, "padding": 24},
        "title": "parameters, billions" + (SCRIPTED if is_scripted else ""),
        "axis": {"values": sorted({row["parameters"] for row in rows}), "format": "~g"},
    }  # fmt: skip
    layers = points_with_bars(x=x, y=percent_axis(), colour=colour("method", names), extra={}, line=True)
    return Chart(
        f"by-size-{slug(dataset)}",
        f"{dataset}: accuracy by size of the model{', scripted models' if is_scripted else ''}, 95 % intervals over "
        f"users; {measured(one.entry for one in scored)}. The dashed line is a coin.",
        f"One line a method over the sizes of the models on {dataset}; numbers in the table.",
        specification(rows, [*layers, rule_at(50.0, "y")]),
    )


def _billions(model: ModelInfo) -> str:
    return f"{(model.n_parameters or 0) / 1e9:g} billion"
