"""Accuracy against the size of the model: a table and a picture a dataset (Figures 6 and 7)."""

from __future__ import annotations

import math
from typing import Any

from personalrm.bench.report.charts import (
    accuracy_fields,
    aside,
    aside_step,
    color,
    percent_axis,
    points_with_bars,
    rule_at,
    specification,
)
from personalrm.bench.report.material import (
    SCRIPTED,
    Chart,
    Content,
    Material,
    accuracy_value,
    measured,
    sizes,
    slug,
    unscored,
)
from personalrm.bench.report.tables import Column, Table, TableRow
from personalrm.bench.results.records import MethodInfo
from personalrm.bench.results.summary import EntrySummary

Point = tuple[MethodInfo, float, EntrySummary]
"""A method, the parameters of a model in billions, and what the method came to with it."""


def size_content(material: Material) -> Content | None:
    """A line a method over the sizes of the models, for each dataset with two sizes."""
    tables, charts = [], []
    models = [(model.label, model.n_parameters / 1e9) for model in material.models if model.n_parameters]
    for dataset in material.datasets:
        points = [
            (method, billions, entry)
            for method in material.methods
            for label, billions in models
            if (entry := material.main(dataset.name, method.name, label))
        ]
        if len({billions for _, billions, entry in points if entry.accuracy}) > 1:
            rows = [
                TableRow(
                    method.title,
                    [accuracy_value(material.main(dataset.name, method.name, label)) for label, _ in models],
                    method.group,
                )
                for method in dict.fromkeys(method for method, *_ in points)
            ]
            entries = [entry for *_, entry in points]
            columns = [Column(f"{material.label(label)}, {billions:g} billion") for label, billions in models]
            caption = f"{dataset.name}: accuracy in percent by size of the model, {sizes(entries)}"
            notes = ("Brackets: 95 % interval over users.", unscored(entries))
            tables.append(Table(f"by-size-{slug(dataset.name)}", caption, "method", columns, rows, notes))
            charts.append(_size_chart(dataset.name, points, material.is_scripted))
    text = "Every model at its number of parameters. Points stand a little aside where bars would cover each other."
    return Content((text,), tables, charts) if tables else None


def _size_chart(dataset: str, points: list[Point], is_scripted: bool) -> Chart:
    scored = [point for point in points if point[-1].accuracy]
    names = list(dict.fromkeys(method.title for method, *_ in scored))
    rows: list[dict[str, Any]] = [
        {"method": method.title, "parameters": billions, **accuracy_fields(entry)} for method, billions, entry in scored
    ]
    step = aside_step([math.log(row["parameters"]) for row in rows], len(names))
    for row in rows:  # the axis is logarithmic
        row["at"] = row["parameters"] * math.exp(aside(names.index(row["method"]), len(names), step))
    x = {
        "field": "at", "type": "quantitative", "scale": {"type": "log", "nice": False, "padding": 24},
        "title": "parameters, billions" + (SCRIPTED if is_scripted else ""),
        "axis": {"values": sorted({row["parameters"] for row in rows}), "format": "~g"},
    }  # fmt: skip
    layers = points_with_bars(x=x, y=percent_axis(), color=color("method", names), line=True)
    return Chart(
        f"by-size-{slug(dataset)}",
        f"{dataset}: accuracy by size of the model{', scripted models' if is_scripted else ''}, 95 % intervals over "
        f"users; {measured(entry for *_, entry in scored)}. The dashed line is a coin.",
        f"One line a method over the sizes of the models on {dataset}; numbers in the table.",
        specification(rows, [*layers, rule_at(50.0, "y")]),
    )
