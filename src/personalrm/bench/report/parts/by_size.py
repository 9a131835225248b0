"""Accuracy against the size of the model: a table and a picture a dataset (Figures 6 and 7)."""

from __future__ import annotations

import math
from typing import Any

from personalrm.bench.report.charts import accuracy_fields, curves
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


def size_content(material: Material) -> Content | None:
    """A line a method over the sizes of the models, for each dataset with two sizes."""
    tables, charts = [], []
    models = [(model.label, model.n_parameters / 1e9) for model in material.models if model.n_parameters]
    scripted, scripted_models = (SCRIPTED, ", scripted models") if material.is_scripted else ("", "")
    for dataset in material.datasets:
        points = [
            (method, billions, entry)
            for method in material.methods
            for label, billions in models
            if (entry := material.main(dataset.name, method.name, label))
        ]
        scored = [(method.title, billions, entry) for method, billions, entry in points if entry.accuracy]
        sizes_scored = sorted({billions for _, billions, _ in scored})
        if len(sizes_scored) < 2:
            continue
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
        marks: list[dict[str, Any]] = [
            {"method": title, "parameters": billions, **accuracy_fields(entry), "at": billions}
            for title, billions, entry in scored
        ]
        x = {
            "field": "at", "type": "quantitative", "scale": {"type": "log", "nice": False, "padding": 24},
            "title": f"parameters, billions{scripted}", "axis": {"values": sizes_scored, "format": "~g"},
        }  # fmt: skip
        names = list(dict.fromkeys(title for title, *_ in scored))
        picture = curves(marks, "method", names, x, bend=math.log, move=lambda value, by: value * math.exp(by))
        chart = Chart(
            f"by-size-{slug(dataset.name)}",
            f"{dataset.name}: accuracy by size of the model{scripted_models}, 95 % intervals over users; "
            f"{measured(entry for *_, entry in scored)}. The dashed line is a coin.",
            f"One line a method over the sizes of the models on {dataset.name}; numbers in the table.",
            picture,
        )
        charts.append(chart)
    text = "Every model at its number of parameters. Points stand a little aside where bars would cover each other."
    return Content((text,), tables, charts) if tables else None
