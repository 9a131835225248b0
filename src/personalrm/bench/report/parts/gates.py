"""Can these judges be trusted: order, failures, calibration, length, and whose persona it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from personalrm.bench.report.charts import INK, colour, faceted, specification
from personalrm.bench.report.material import (
    Chart,
    Material,
    Section,
    gap_interval,
    interval,
    measured,
    number,
    p_text,
    share,
    sizes,
    slug,
    unscored,
)
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.summary import EntrySummary
from personalrm.stats.calibration import CalibrationBin, Stratum
from personalrm.stats.paired import points

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


def gates_section(material: Material) -> Section | None:
    """Gates of every judge, a table of lengths and a calibration picture a dataset."""
    tables, charts = [], []
    for dataset in material.datasets:
        entries = _judges(material, dataset.name)
        if entries:
            tables.append(_gates(material, dataset.name, entries))
        if any(entry.length for entry in entries):
            tables.append(_strata(material, dataset.name, entries))
        if any(entry.calibration for entry in entries):
            charts.append(_calibration_chart(material, dataset.name, entries))
    return (
        Section("gates", "Quality of the judges", "not in the paper", (WORDS,), tuple(tables), tuple(charts))
        if tables
        else None
    )


def _judges(material: Material, dataset: str) -> list[EntrySummary]:
    return [
        entry
        for method in material.methods
        for model in (None, *(one.label for one in material.models))
        if method.group != "controls" and (entry := material.main(dataset, method.name, model))
    ]


def _gates(material: Material, dataset: str, entries: list[EntrySummary]) -> Table:
    names = (
        "model", "warnings", "consistency, %", "first share", "first of equals, %", "unscored", "half scored", "ties",
        "Brier score", "calibration error", "gap, points", "p (Holm)",
    )  # fmt: skip
    rows = tuple(TableRow(material.title(one.cell.method), tuple(_values(material, one))) for one in entries)
    notes = tuple(
        f"Why unscored, {material.title(one.cell.method)}, {material.label(one.cell.model)}: "
        + ", ".join(f"{reason[:80]} {n:,}" for reason, n in list(one.reasons.items())[:5]) + "."
        for one in entries
        if one.reasons
    )  # fmt: skip
    notes = (*_notes_on_equals(material, entries), *notes)
    caption = f"{dataset}: quality gates, {sizes(entries)}"
    return Table(f"gates-{slug(dataset)}", caption, "method", tuple(map(Column, names)), rows, notes)


def _values(material: Material, entry: EntrySummary) -> Iterator[Value]:
    a, c = entry.accuracy, entry.calibration
    yield from (Value(material.label(entry.cell.model)), Value("; ".join(warnings(material, entry))))
    yield from (Value(share(entry.position_consistency)), Value(number(entry.first_share, 2)))
    equals = _equals(material, entry)
    ends = equals.first_interval if equals else None
    yield Value(share(equals.first_share if equals else None), interval(ends.low, ends.high) if ends else None)
    yield Value(f"{entry.n_unscored:,} of {entry.n_judgements:,}")
    yield from (Value(f"{a.n_half_scored:,}" if a else "0"), Value(f"{a.n_ties:,}" if a else "0"))
    yield from (Value(number(c.brier if c else None)), Value(number(c.ece if c else None)))
    gap = material.summary.paired("shuffled_user", entry.cell)
    if gap is None:
        yield from (Value(DASH), Value(DASH))
    else:
        one = gap.comparison
        yield from (Value(points(one.difference), gap_interval(one.low, one.high)), Value(p_text(gap.p_holm)))


def warnings(material: Material, entry: EntrySummary) -> Iterator[str]:
    """What a reader should know before believing the judge."""
    if entry.position_consistency is not None and entry.position_consistency < LEAST_CONSISTENT:
        yield "orders disagree"
    if entry.first_share is not None and abs(entry.first_share - 0.5) > MOST_LEANING:
        yield "leans to the " + ("first" if entry.first_share > 0.5 else "second")
    equals = _equals(material, entry)
    if equals is not None and _prefers_a_place(equals):
        yield f"names the {'first' if (equals.first_share or 0) > 0.5 else 'second'} of equals"
    if entry.accuracy is None:
        yield "nothing scored"
    elif entry.n_unscored > MOST_UNSCORED * entry.n_judgements:
        yield "often unscored"
    gap = material.summary.paired("shuffled_user", entry.cell)
    if gap is not None and (gap.p_holm >= ALPHA or gap.comparison.difference <= 0):
        yield "no personalization shown"


def _equals(material: Material, entry: EntrySummary) -> EntrySummary | None:
    """The A/A test of a judge; None where it was not made."""
    return material.summary.entry(replace(entry.cell, teacher=None, control="identical"))


def _notes_on_equals(material: Material, entries: list[EntrySummary]) -> Iterator[str]:
    tests = [equals for one in entries if (equals := _equals(material, one)) is not None]
    if tests:
        most, n_unscored = max(one.n_judgements for one in tests), sum(one.n_unscored for one in tests)
        yield f"First of equals: up to {most:,} pairs a judge, intervals over users, {n_unscored:,} unscored in all."


def _prefers_a_place(equals: EntrySummary | None) -> bool:
    """Whether equals are told apart by their place: beyond the bound, and even odds are not in the interval."""
    if equals is None or equals.first_share is None or abs(equals.first_share - 0.5) <= MOST_LEANING:
        return False
    ends = equals.first_interval
    return ends is None or not ends.low <= 0.5 <= ends.high


def _strata(material: Material, dataset: str, entries: list[EntrySummary]) -> Table:
    groups = ("chosen is longer", "chosen is shorter", "equal length")
    columns = tuple(Column(name, group) for group in groups for name in ("accuracy, %", "judgements"))
    rows = tuple(
        TableRow(
            f"{material.title(one.cell.method)}, {material.label(one.cell.model)}",
            tuple(v for part in (one.length.longer, one.length.shorter, one.length.equal) for v in _stratum(part)),
        )
        for one in entries
        if one.length
    )
    notes = ("A judge that only counts characters has 100 and 0.", f"{unscored(entries)} They count 0.5.")
    caption = f"{dataset}: accuracy by which completion is longer, {sizes(entries)}"
    return Table(f"lengths-{slug(dataset)}", caption, "method and model", columns, rows, notes)


def _stratum(stratum: Stratum) -> tuple[Value, Value]:
    return Value(share(stratum.accuracy)), Value(f"{stratum.n_pairs:,}")


def _calibration_chart(material: Material, dataset: str, entries: list[EntrySummary]) -> Chart:
    """A small picture a model: with all judges in one, nobody could tell them apart."""
    rows: list[dict[str, Any]] = [
        {"judge": material.title(one.cell.method), "model": material.label(one.cell.model), **_bin(place)}
        for one in entries
        if one.calibration
        for place in one.calibration.bins
        if place.n_pairs
    ]
    names = list(dict.fromkeys(str(row["judge"]) for row in rows))
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    return Chart(
        f"calibration-{slug(dataset)}",
        f"{dataset}: how often judges are right at each confidence, larger points with more judgements; "
        f"on the dashed line as often as they think. {measured(one for one in entries if one.calibration)}.",
        f"Reliability diagrams of {len(names)} methods with {len(models)} models on {dataset}; "
        "Brier scores and calibration errors stand in the table.",
        faceted(specification(rows, _calibration_layers(names), height=190, width=190), "model", models),
    )


def _calibration_layers(names: list[str]) -> list[dict[str, Any]]:
    x = {"field": "confidence", "type": "quantitative", "title": "confidence, %", "scale": {"domain": [50, 100]}}
    y = {"field": "accuracy", "type": "quantitative", "title": "right, %", "scale": {"domain": [0, 100]}}
    size = {"field": "n", "type": "quantitative", "legend": None, "scale": {"range": [15, 160]}}
    ideal = {"x": {"datum": 50, **_same(x)}, "y": {"datum": 50, **_same(y)}, "x2": {"datum": 100}, "y2": {"datum": 100}}
    dots = {"x": x, "y": y, "color": colour("judge", names)}
    return [
        {"mark": {"type": "rule", "strokeDash": [4, 4], "color": INK}, "encoding": ideal},
        {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6}, "encoding": dots},
        {"mark": {"type": "circle", "opacity": 0.9}, "encoding": {**dots, "size": size}},
    ]


def _bin(place: CalibrationBin) -> dict[str, Any]:
    return {
        "n": place.n_pairs,
        "confidence": round(100 * place.confidence, 2),
        "accuracy": round(100 * place.accuracy, 2),
    }


def _same(axis: dict[str, Any]) -> dict[str, Any]:
    """Type, title and scale of an axis, for a layer that draws fixed values on it."""
    return {key: axis[key] for key in ("type", "title", "scale")}
