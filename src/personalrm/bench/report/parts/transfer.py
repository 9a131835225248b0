"""Prompts of one model judged by another: the matrix of Figures 4 and 9."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.charts import INK, specification
from personalrm.bench.report.material import Chart, Content, Material, accuracy_value, measured, sizes, slug, unscored
from personalrm.bench.report.tables import Column, Table, TableRow
from personalrm.bench.results.summary import CellSummary


def transfer_content(material: Material) -> Content | None:
    """A matrix a dataset and method that was run with other models' prompts."""
    tables, charts = [], []
    crossed = dict.fromkeys(
        (e.cell.dataset, e.cell.method)
        for e in material.summary.entries
        if e.cell.teacher is not None and e.cell.control is None
    )
    for dataset, method in crossed:
        matrix = _matrix(material, dataset, method)
        used = {teacher for row in matrix.values() for teacher in row}
        teachers = [model.label for model in material.models if model.label in used]
        entries = [entry for row in matrix.values() for entry in row.values()]
        rows = [
            TableRow(f"judged by {material.label(student)}", [accuracy_value(row.get(teacher)) for teacher in teachers])
            for student, row in matrix.items()
        ]
        columns = [Column(material.label(teacher), "prompts written by") for teacher in teachers]
        caption = f"{dataset}: {material.title(method)}, accuracy in percent, {sizes(entries)}"
        notes = ("Brackets: 95 % interval over users.", unscored(entries))
        tables.append(Table(f"transfer-{slug(dataset)}-{slug(method)}", caption, "student", columns, rows, notes))
        charts.append(_heat_map(material, dataset, method, matrix, teachers))
    words = (
        "The teacher wrote the personal prompts (across), the student judges with them (down); the diagonal is each "
        "model on its own prompts."
    )
    return Content((words,), tables, charts) if tables else None


Matrix = dict[str, dict[str, CellSummary]]


def _matrix(material: Material, dataset: str, method: str) -> Matrix:
    """Student -> teacher -> entry, both in the order of the models."""
    matrix: Matrix = {}
    for student in material.models:
        for teacher in material.models:
            cell = Cell(dataset, method, student.label, teacher=teacher.label)
            entry = material.summary.entry(cell)
            if entry is None and student is teacher:  # a run without a transfer matrix does not name the teacher
                entry = material.summary.entry(replace(cell, teacher=None))
            if entry is not None:
                matrix.setdefault(student.label, {})[teacher.label] = entry
    # A model that has only its own prompts (the embedded engine) has no place in the matrix.
    crossed = {
        name for student, row in matrix.items() for teacher in row if teacher != student for name in (student, teacher)
    }
    return {
        student: {t: e for t, e in row.items() if t in crossed} for student, row in matrix.items() if student in crossed
    }


def _heat_map(material: Material, dataset: str, method: str, matrix: Matrix, teachers: list[str]) -> Chart:
    """Colored fields with their numbers, in the order of the table."""
    rows: list[dict[str, Any]] = [
        {"teacher": material.label(t), "student": material.label(s), "accuracy": round(100 * e.accuracy.accuracy, 1)}
        for s, row in matrix.items()
        for t, e in row.items()
        if e.accuracy
    ]
    values = [row["accuracy"] for row in rows]
    middle = (min(values) + max(values)) / 2 if values else 50.0
    x = {
        "field": "teacher",
        "type": "nominal",
        "sort": [material.label(teacher) for teacher in teachers],
        "title": "prompts written by (teacher)",
        "axis": {"labelAngle": 0, "labelLimit": 124},
    }
    students = [material.label(student) for student in matrix]
    y = {"field": "student", "type": "nominal", "sort": students, "title": "judged by (student)"}
    legend = {"title": "accuracy, %", "orient": "right", "format": ".1f"}
    shade = {"field": "accuracy", "type": "quantitative", "scale": {"scheme": "blues", "zero": False}, "legend": legend}
    ink = {"condition": {"test": f"datum.accuracy > {middle}", "value": "white"}, "value": "#111111"}
    text = {"text": {"field": "accuracy", "format": ".1f"}, "color": ink}
    layers = [
        {"mark": {"type": "rect", "stroke": INK, "strokeWidth": 0.3}, "encoding": {"x": x, "y": y, "color": shade}},
        {"mark": {"type": "text", "fontSize": 13}, "encoding": {"x": x, "y": y, **text}},
    ]
    best = max(rows, key=lambda row: float(row["accuracy"]), default=None)
    highest = f" Highest: {best['student']} with prompts of {best['teacher']}, {best['accuracy']} %." if best else ""
    return Chart(
        f"transfer-{slug(dataset)}-{slug(method)}",
        f"{dataset}: accuracy of {material.title(method)} by who wrote the prompts and who judges; "
        f"{measured(entry for row in matrix.values() for entry in row.values())}. Intervals stand in the table.",
        f"Heat map of {len(students)} students by {len(teachers)} teachers on {dataset}.{highest}",
        specification(rows, layers, height={"step": 60}, width={"step": 130}),
    )
