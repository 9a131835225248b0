"""Accuracy against the number of context pairs: curves, their slopes and a picture a dataset (Figures 2 and 8)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
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
from personalrm.bench.report.material import Chart, Material, Section, accuracy_value, measured, sizes, slug, unscored
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.summary import EntrySummary
from personalrm.stats.slopes import Slope

MOST_CROWDED = 8
"""Smallest gaps that fit between the ends of a straight axis before it is bent."""
Curve = tuple[str, list[EntrySummary | None]]
"""A name, and the entry at each k."""


def context_section(material: Material) -> Section | None:
    """A line a method and model over the number of context pairs, with the slope of each."""
    tables, charts = [], []
    for dataset in material.datasets:
        curves = [row for row in material.summary.slopes if row.cell.dataset == dataset.name]
        if curves:
            numbers = sorted({k for row in curves for k in row.numbers})
            tables += [_curve_table(material, dataset.name, numbers), _slope_table(material, dataset.name)]
            charts.append(_context_chart(material, dataset.name, numbers))
    words = (
        "For each k the users with at least k context pairs, k of them drawn at random, scored on all their targets "
        "(paper 6.1). Who these users are changes with k; the slope of the same users keeps only those who are there "
        "at every k. Points stand a little aside of their k so that bars do not cover each other."
    )
    return (
        Section(
            "by-context",
            "Accuracy by number of context pairs",
            "Figures 2 and 8",
            (words,),
            tuple(tables),
            tuple(charts),
        )
        if tables
        else None
    )


def _points(material: Material, dataset: str, numbers: list[int]) -> Iterator[Curve]:
    for row in material.summary.slopes:
        if row.cell.dataset == dataset:
            name = f"{material.title(row.cell.method)}, {material.label(row.cell.model)}"
            yield name, [material.summary.entry(replace(row.cell, k=k)) for k in numbers]


def _curve_table(material: Material, dataset: str, numbers: list[int]) -> Table:
    curves = list(_points(material, dataset, numbers))
    found = [entry for _, row in curves for entry in row if entry]
    rows = [TableRow(name, tuple(map(accuracy_value, row))) for name, row in curves]
    rows += [_count_row("users", curves), _count_row("target pairs", curves)]
    notes = ("Brackets: 95 % interval over users.", unscored(found))
    return Table(
        f"by-context-{slug(dataset)}", f"{dataset}: accuracy in percent with k context pairs a user, {sizes(found)}",
        "method and model", tuple(Column(f"k = {k}") for k in numbers), tuple(rows), notes,
    )  # fmt: skip


def _count_row(noun: str, curves: list[Curve]) -> TableRow:
    """The most users or target pairs that any curve has at each k."""
    columns = zip(*(row for _, row in curves), strict=True)
    accuracies = [[entry.accuracy for entry in column if entry and entry.accuracy] for column in columns]
    counts = [max((a.n_users if noun == "users" else a.n_pairs for a in one), default=0) for one in accuracies]
    return TableRow(noun, tuple(Value(f"{n:,}") for n in counts))


def _slope_table(material: Material, dataset: str) -> Table:
    rows = []
    for row in material.summary.slopes:
        if row.cell.dataset == dataset:
            same = row.same_users
            values = [_slope(row.all_users), Value(f"{row.all_users.n_users:,}")]
            values += [_slope(same), Value(f"{same.n_users:,}")] if same else [Value(DASH)] * 2
            rows.append(TableRow(f"{material.title(row.cell.method)}, {material.label(row.cell.model)}", tuple(values)))
    columns = tuple(Column(name, group) for group in ("all users", "same users") for name in ("slope, points", "users"))
    notes = [
        "Points for each additional context pair, least squares through the means. Brackets: 95 % interval over users."
    ]
    published = material.published["slope"].get(material.benchmark(dataset))
    notes += [f"Published: about {published} points a pair (paper 6.1), not measured here."] if published else []
    return Table(
        f"slopes-{slug(dataset)}",
        f"{dataset}: points gained by a context pair",
        "method and model",
        columns,
        tuple(rows),
        tuple(notes),
    )


def _slope(slope: Slope) -> Value:
    interval = None if slope.low != slope.low else (f"{100 * slope.low:+.2f}", f"{100 * slope.high:+.2f}")
    return Value(f"{100 * slope.slope:+.2f}", interval)


def _context_chart(material: Material, dataset: str, numbers: list[int]) -> Chart:
    curves = list(_points(material, dataset, numbers))
    names = [name for name, _ in curves]
    scored = [(name, k, e) for name, row in curves for k, e in zip(numbers, row, strict=True) if e and e.accuracy]
    bend, straighten = (math.log1p, math.expm1) if _is_crowded(numbers) else (float, float)
    step = aside_step([bend(k) for k in numbers], len(names))
    rows: list[dict[str, Any]] = [
        {
            "curve": name,
            "k": k,
            "at": straighten(bend(k) + aside(names.index(name), len(names), step)),
            **accuracy_fields(e),
        }
        for name, k, e in scored
    ]
    layers = points_with_bars(
        x=_context_axis(numbers), y=percent_axis(), colour=colour("curve", names), extra={}, line=True
    )
    return Chart(
        f"by-context-{slug(dataset)}",
        f"{dataset}: accuracy by number of context pairs, 95 % intervals over users; "
        f"{measured(e for *_, e in scored)}. The dashed line is a coin.",
        f"{len(names)} curves over k = {', '.join(map(str, numbers))} on {dataset}; numbers and slopes in the tables.",
        specification(rows, [*layers, rule_at(50.0, "y")]),
    )


def _is_crowded(numbers: list[int]) -> bool:
    """Whether small k would lie on top of each other on a straight axis, as 1, 2, 4, 8, 16, 32 do."""
    return len(numbers) > 1 and MOST_CROWDED * min(b - a for a, b in pairwise(numbers)) < numbers[-1] - numbers[0]


def _context_axis(numbers: list[int]) -> dict[str, Any]:
    """The axis of k: straight, or logarithmic in k + 1 where small k are crowded."""
    is_crowded = _is_crowded(numbers)
    return {
        "field": "at",
        "type": "quantitative",
        "title": "context pairs a user (k" + (", logarithmic in k + 1)" if is_crowded else ")"),
        "scale": {"type": "symlog" if is_crowded else "linear", "zero": False, "nice": False, "padding": 24},
        "axis": {"values": numbers, "format": "d"},
    }
