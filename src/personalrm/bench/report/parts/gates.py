"""Can these judges be trusted: order, failures, calibration, length, and whose persona it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from personalrm.bench.report.charts import INK, color, faceted, specification
from personalrm.bench.report.material import (
    Chart,
    Content,
    Material,
    interval,
    measured,
    number,
    paired_values,
    share,
    sizes,
    slug,
    unscored,
)
from personalrm.bench.report.tables import Column, Table, TableRow, Value
from personalrm.bench.results.summary import CellSummary

LEAST_CONSISTENT, MOST_LEANING, MOST_UNSCORED, ALPHA = 0.7, 0.1, 0.05, 0.05
"""Bounds at which a judge gets a warning; ours, the paper names none."""
WORDS = (
    "Consistency: share of pairs on which both orders name the same completion. First share: mean probability of "
    "whatever stands first, 0.5 without bias. First of equals (A/A test): how often the first of two identical "
    "completions is named, 50 without bias. Gap: own persona minus somebody else's, the personalization really "
    f"measured. Warnings below {LEAST_CONSISTENT:.0%} consistency, more than {MOST_LEANING} from an even first "
    f"share, more than {100 * MOST_LEANING:.0f} from 50 for equals with 50 outside the interval, above "
    f"{MOST_UNSCORED:.0%} unscored, and where the gap is not told from zero."
)


def gates_content(material: Material) -> Content | None:
    """Gates of every judge, a table of lengths and a calibration picture a dataset."""
    tables, charts = [], []
    for dataset in material.datasets:
        entries = [e for e in material.entries(dataset.name) if material.group(e.cell.method) != "controls"]
        if entries:
            tables.append(_gates(material, dataset.name, entries))
        if any(entry.length for entry in entries):
            tables.append(_strata(material, dataset.name, entries))
        calibrated = [entry for entry in entries if entry.calibration]
        if calibrated:
            charts.append(_calibration_chart(material, dataset.name, calibrated))
    return Content((WORDS,), tables, charts) if tables else None


def _gates(material: Material, dataset: str, entries: list[CellSummary]) -> Table:
    names = (
        "model", "warnings", "consistency, %", "first share", "first of equals, %", "unscored", "half scored", "ties",
        "Brier score", "calibration error", "gap, points", "p (Holm)",
    )  # fmt: skip
    rows, notes = [], []
    tests = [equals for entry in entries if (equals := _equals(material, entry)) is not None]
    if tests:
        most, n_unscored = max(test.n_judgements for test in tests), sum(test.n_unscored for test in tests)
        notes.append(
            f"First of equals: up to {most:,} pairs a judge, intervals over users, {n_unscored:,} unscored in all."
        )
    for entry in entries:
        a, c, equals = entry.accuracy, entry.calibration, _equals(material, entry)
        ends = equals.first_interval if equals else None
        values = [
            Value(material.label(entry.cell.model)),
            Value("; ".join(warnings(material, entry))),
            Value(share(entry.position_consistency)),
            Value(number(entry.first_share, 2)),
            Value(share(equals.first_share if equals else None), interval(ends.low, ends.high) if ends else None),
            Value(f"{entry.n_unscored:,} of {entry.n_judgements:,}"),
            Value(f"{a.n_half_scored:,}" if a else "0"),
            Value(f"{a.n_ties:,}" if a else "0"),
            Value(number(c.brier if c else None)),
            Value(number(c.ece if c else None)),
            *paired_values(material.summary.paired("shuffled_user", entry.cell), is_starred=False),
        ]
        rows.append(TableRow(material.title(entry.cell.method), values))
        if entry.reasons:
            reasons = ", ".join(f"{reason[:80]} {n:,}" for reason, n in list(entry.reasons.items())[:5])
            notes.append(f"Why unscored, {material.name_of(entry)}: {reasons}.")
    caption = f"{dataset}: quality gates, {sizes(entries)}"
    return Table(f"gates-{slug(dataset)}", caption, "method", list(map(Column, names)), rows, notes)


def warnings(material: Material, entry: CellSummary) -> Iterator[str]:
    """What a reader should know before believing the judge."""
    if entry.position_consistency is not None and entry.position_consistency < LEAST_CONSISTENT:
        yield "orders disagree"
    if entry.first_share is not None and abs(entry.first_share - 0.5) > MOST_LEANING:
        yield "leans to the " + ("first" if entry.first_share > 0.5 else "second")
    equals = _equals(material, entry)
    if equals is not None and equals.first_share is not None and abs(equals.first_share - 0.5) > MOST_LEANING:
        ends = equals.first_interval
        if ends is None or not ends.low <= 0.5 <= ends.high:
            yield f"names the {'first' if equals.first_share > 0.5 else 'second'} of equals"
    if entry.accuracy is None:
        yield "nothing scored"
    elif entry.n_unscored > MOST_UNSCORED * entry.n_judgements:
        yield "often unscored"
    gap = material.summary.paired("shuffled_user", entry.cell)
    if gap is not None and (gap.p_holm >= ALPHA or gap.comparison.difference <= 0):
        yield "no personalization shown"


def _equals(material: Material, entry: CellSummary) -> CellSummary | None:
    """The A/A test of a judge; None where it was not made."""
    return material.summary.entry(replace(entry.cell, teacher=None, control="identical"))


def _strata(material: Material, dataset: str, entries: list[CellSummary]) -> Table:
    groups = ("chosen is longer", "chosen is shorter", "equal length")
    columns = [Column(name, group) for group in groups for name in ("accuracy, %", "judgements")]
    rows = []
    for entry in entries:
        if entry.length:
            values = []
            for stratum in (entry.length.longer, entry.length.shorter, entry.length.equal):
                values += [Value(share(stratum.accuracy)), Value(f"{stratum.n_pairs:,}")]
            rows.append(TableRow(material.name_of(entry), values))
    notes = ("A judge that only counts characters has 100 and 0.", f"{unscored(entries)} They count 0.5.")
    caption = f"{dataset}: accuracy by which completion is longer, {sizes(entries)}"
    return Table(f"lengths-{slug(dataset)}", caption, "method and model", columns, rows, notes)


def _calibration_chart(material: Material, dataset: str, entries: list[CellSummary]) -> Chart:
    """A small picture a model: with all judges in one, nobody could tell them apart."""
    rows: list[dict[str, Any]] = [
        {
            "judge": material.title(entry.cell.method),
            "model": material.label(entry.cell.model),
            "n": place.n_pairs,
            "confidence": round(100 * place.confidence, 2),
            "accuracy": round(100 * place.accuracy, 2),
        }
        for entry in entries
        for place in (entry.calibration.bins if entry.calibration else ())
        if place.n_pairs
    ]
    names = list(dict.fromkeys(str(row["judge"]) for row in rows))
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    along = {"type": "quantitative", "title": "confidence, %", "scale": {"domain": [50, 100]}}
    up = {"type": "quantitative", "title": "right, %", "scale": {"domain": [0, 100]}}
    ideal = {"x": {"datum": 50, **along}, "y": {"datum": 50, **up}, "x2": {"datum": 100}, "y2": {"datum": 100}}
    dots = {"x": {"field": "confidence", **along}, "y": {"field": "accuracy", **up}, "color": color("judge", names)}
    size = {"field": "n", "type": "quantitative", "legend": None, "scale": {"range": [15, 160]}}
    layers = [
        {"mark": {"type": "rule", "strokeDash": [4, 4], "color": INK}, "encoding": ideal},
        {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6}, "encoding": dots},
        {"mark": {"type": "circle", "opacity": 0.9}, "encoding": {**dots, "size": size}},
    ]
    return Chart(
        f"calibration-{slug(dataset)}",
        f"{dataset}: how often judges are right at each confidence, larger points with more judgements; "
        f"on the dashed line as often as they think. {measured(entries)}.",
        f"Reliability diagrams of {len(names)} methods with {len(models)} models on {dataset}; "
        "Brier scores and calibration errors stand in the table.",
        faceted(specification(rows, layers, height=190, width=190), "model", models),
    )
