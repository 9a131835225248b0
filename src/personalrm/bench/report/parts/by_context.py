"""Accuracy against the number of context pairs: curves, their slopes and a picture a dataset (Figures 2 and 8)."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

from personalrm.bench.report.charts import accuracy_fields, curves
from personalrm.bench.report.material import Chart, Content, Material, accuracy_value, measured, sizes, slug, unscored
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.paired import SlopeRow
from personalrm.bench.results.summary import CellSummary

MOST_CROWDED = 8
"""Smallest gaps that fit between the ends of a straight axis before it is bent."""
Line = tuple[str, list[CellSummary | None]]
"""A name, and the entry at each k."""


def context_content(material: Material) -> Content | None:
    """A line a method and model over the number of context pairs, with the slope of each."""
    tables, charts = [], []
    for dataset in material.datasets:
        slopes = [row for row in material.summary.slopes if row.cell.dataset == dataset.name]
        if not slopes:
            continue
        numbers = sorted({k for row in slopes for k in row.numbers})
        names = [f"{material.title(row.cell.method)}, {material.label(row.cell.model)}" for row in slopes]
        entries = [[material.summary.entry(replace(row.cell, k=k)) for k in numbers] for row in slopes]
        lines: list[Line] = list(zip(names, entries, strict=True))
        judged = [entry for row in entries for entry in row if entry]
        rows = [TableRow(name, list(map(accuracy_value, row))) for name, row in lines]
        # the most users and target pairs that any line has at each k
        by_k = [[entry.accuracy for entry in at_k if entry and entry.accuracy] for at_k in zip(*entries, strict=True)]
        most = [(max((a.n_users for a in at_k), default=0), max((a.n_pairs for a in at_k), default=0)) for at_k in by_k]
        rows.append(TableRow("users", [Value(f"{n_users:,}") for n_users, _ in most]))
        rows.append(TableRow("target pairs", [Value(f"{n_pairs:,}") for _, n_pairs in most]))
        caption = f"{dataset.name}: accuracy in percent with k context pairs a user, {sizes(judged)}"
        columns = [Column(f"k = {k}") for k in numbers]
        notes = ("Brackets: 95 % interval over users.", unscored(judged))
        tables.append(Table(f"by-context-{slug(dataset.name)}", caption, "method and model", columns, rows, notes))
        tables.append(_slope_table(material, dataset.name, names, slopes))
        charts.append(_context_chart(dataset.name, lines, numbers))
    words = (
        "For each k the users with at least k context pairs, k of them drawn at random, scored on all their targets "
        "(paper 6.1). Who these users are changes with k; the slope of the same users keeps only those who are there "
        "at every k. Points stand a little aside of their k so that bars do not cover each other."
    )
    return Content((words,), tables, charts) if tables else None


def _slope_table(material: Material, dataset: str, names: list[str], slopes: list[SlopeRow]) -> Table:
    rows = []
    for name, row in zip(names, slopes, strict=True):
        values: list[Value] = []
        for slope in (row.all_users, row.same_users):
            if slope is None:
                values += [Value(DASH)] * 2
                continue
            low, high = (f"{100 * end:+.2f}" for end in (slope.low, slope.high))
            ends = None if slope.low != slope.low else (low, high)  # NaN: a single user has no interval
            values += [Value(f"{100 * slope.slope:+.2f}", ends), Value(f"{slope.n_users:,}")]
        rows.append(TableRow(name, values))
    columns = [Column(name, group) for group in ("all users", "same users") for name in ("slope, points", "users")]
    notes = [
        "Points for each additional context pair, least squares through the means. Brackets: 95 % interval over users."
    ]
    published = material.published["slope"].get(material.benchmark(dataset))
    notes += [f"Published: about {published} points a pair (paper 6.1), not measured here."] if published else []
    caption = f"{dataset}: points gained by a context pair"
    return Table(f"slopes-{slug(dataset)}", caption, "method and model", columns, rows, notes)


def _context_chart(dataset: str, lines: list[Line], numbers: list[int]) -> Chart:
    names = [name for name, _ in lines]
    scored = [(name, k, e) for name, row in lines for k, e in zip(numbers, row, strict=True) if e and e.accuracy]
    # On a straight axis small k would lie on top of each other, as 1, 2, 4, 8, 16, 32 do: it is logarithmic in k + 1.
    gaps = [after - before for before, after in pairwise(numbers)]
    is_crowded = bool(gaps) and MOST_CROWDED * min(gaps) < numbers[-1] - numbers[0]
    bend, straighten = (math.log1p, math.expm1) if is_crowded else (float, float)
    marks: list[dict[str, Any]] = [
        {"curve": name, "k": k, "at": k, **accuracy_fields(entry)} for name, k, entry in scored
    ]
    x = {
        "field": "at",
        "type": "quantitative",
        "title": "context pairs a user (k" + (", logarithmic in k + 1)" if is_crowded else ")"),
        "scale": {"type": "symlog" if is_crowded else "linear", "zero": False, "nice": False, "padding": 24},
        "axis": {"values": numbers, "format": "d"},
    }
    return Chart(
        f"by-context-{slug(dataset)}",
        f"{dataset}: accuracy by number of context pairs, 95 % intervals over users; "
        f"{measured(entry for *_, entry in scored)}. The dashed line is a coin.",
        f"{len(names)} curves over k = {', '.join(map(str, numbers))} on {dataset}; numbers and slopes in the tables.",
        curves(marks, "curve", names, x, bend=bend, move=lambda k, by: straighten(bend(k) + by)),
    )
