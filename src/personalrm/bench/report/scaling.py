"""Accuracy against what grows: the model (Figures 6 and 7) and the user's context (Figures 2 and 8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from personalrm.bench.report.charts import (
    accuracy_fields,
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
    gap_interval,
    p_text,
    slug,
)
from personalrm.bench.report.tables import Column, Row, Table, Value
from personalrm.bench.runs.records import ModelInfo
from personalrm.bench.runs.summary import EntrySummary
from personalrm.stats.accuracy import count
from personalrm.stats.paired import points
from personalrm.stats.runs import stars
from personalrm.stats.slopes import Slope


def size_section(material: Material) -> Section | None:
    """A line a method over the sizes of the models, for each dataset with two sizes."""
    sized = [one for one in material.models if one.n_parameters]
    tables, charts = [], []
    for dataset in material.datasets:
        found = [
            (m.title, o, e)
            for m in material.methods
            for o in sized
            if (e := material.main(dataset.name, m.name, o.label))
        ]
        if len({one.n_parameters for _, one, entry in found if entry.accuracy}) < 2:
            continue
        columns = tuple(Column(f"{material.label(one.label)}, {_billions(one)}") for one in sized)
        rows = tuple(
            Row(
                m.title, tuple(accuracy_value(material.main(dataset.name, m.name, one.label)) for one in sized), m.group
            )
            for m in material.methods
            if any(title == m.title for title, _, _ in found)
        )
        caption = f"{dataset.name}: accuracy in percent by size of the model, {_users(e for _, _, e in found)}"
        tables.append(
            Table(
                f"by-size-{slug(dataset.name)}", caption, "method", columns, rows, (_unscored(e for _, _, e in found),)
            )
        )
        charts.append(_size_chart(dataset.name, found, material.is_scripted))
    text = ("Every model at its number of parameters; bars are 95 % intervals over users.",)
    return (
        Section("by-size", "Accuracy by size of the model", "Figures 6 and 7", text, tuple(tables), tuple(charts))
        if tables
        else None
    )


def _size_chart(dataset: str, found: list[tuple[str, ModelInfo, EntrySummary]], is_scripted: bool) -> Chart:
    rows: list[dict[str, Any]] = [
        {"method": title, "parameters": (one.n_parameters or 0) / 1e9, **accuracy_fields(entry)}
        for title, one, entry in found
        if entry.accuracy
    ]
    title = "parameters, billions" + (SCRIPTED if is_scripted else "")
    axis = {
        "field": "at", "type": "quantitative", "title": title, "scale": {"type": "log"},
        "axis": {"values": sorted({row["parameters"] for row in rows}), "format": "~g"},
    }  # fmt: skip
    names = list(dict.fromkeys(str(row["method"]) for row in rows))
    for row in rows:  # the axis is logarithmic
        row["at"] = float(row["parameters"]) * 1.03 ** _aside(names.index(str(row["method"])), len(names), 1.0)
    layers = points_with_bars(x=axis, y=percent_axis(), colour=colour("method", names), extra={}, line=True)
    return Chart(
        f"by-size-{slug(dataset)}",
        f"{dataset}: accuracy by size of the model{', scripted models' if is_scripted else ''}.",
        f"One line a method over the sizes of the models on {dataset}; numbers in the table.",
        specification(rows, [*layers, rule_at(50.0, "y")]),
    )


def _aside(place: int, n: int, step: float) -> float:
    """How far the place-th of n curves stands beside the true value: bars at one place would cover each other."""
    return step * (place - (n - 1) / 2)


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
        "at every k. Points stand a little aside of their k where bars would cover each other."
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


def _points(material: Material, dataset: str, numbers: list[int]) -> Iterator[tuple[str, list[EntrySummary | None]]]:
    for row in material.summary.slopes:
        if row.cell.dataset == dataset:
            name = f"{material.title(row.cell.method)}, {material.label(row.cell.model)}"
            yield name, [material.summary.entry(replace(row.cell, k=k)) for k in numbers]


def _curve_table(material: Material, dataset: str, numbers: list[int]) -> Table:
    curves = list(_points(material, dataset, numbers))
    users = [
        max((e.accuracy.n_users for _, row in curves if (e := row[place]) and e.accuracy), default=0)
        for place in range(len(numbers))
    ]
    columns = tuple(Column(f"k = {k}") for k in numbers)
    rows = [Row(name, tuple(map(accuracy_value, row))) for name, row in curves]
    rows.append(Row("users", tuple(Value(f"{n:,}") for n in users)))
    note = _unscored(entry for _, row in curves for entry in row if entry)
    return Table(
        f"by-context-{slug(dataset)}", f"{dataset}: accuracy in percent with k context pairs a user",
        "method and model", columns, tuple(rows), (note,),
    )  # fmt: skip


def _slope_table(material: Material, dataset: str) -> Table:
    rows = []
    for row in material.summary.slopes:
        if row.cell.dataset == dataset:
            same = row.same_users
            values = [_slope(row.all_users), Value(f"{row.all_users.n_users:,}")]
            values += [_slope(same), Value(f"{same.n_users:,}")] if same else [Value("\N{EN DASH}")] * 2
            rows.append(Row(f"{material.title(row.cell.method)}, {material.label(row.cell.model)}", tuple(values)))
    columns = (
        Column("slope", "all users"),
        Column("users", "all users"),
        Column("slope", "same users"),
        Column("users", "same users"),
    )
    notes = ["Points for each additional context pair, least squares through the means; 95 % interval over users."]
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
    rows: list[dict[str, Any]] = []
    for name, curve in _points(material, dataset, numbers):
        rows += [
            {"curve": name, "k": k, **accuracy_fields(e)}
            for k, e in zip(numbers, curve, strict=True)
            if e and e.accuracy
        ]
    names = list(dict.fromkeys(str(row["curve"]) for row in rows))
    step = 0.008 * (numbers[-1] - numbers[0])
    for row in rows:
        row["at"] = row["k"] + _aside(names.index(str(row["curve"])), len(names), step)
    axis = {
        "field": "k",
        "type": "quantitative",
        "title": "context pairs a user (k)",
        "scale": {"zero": False, "nice": False, "padding": 16},
        "axis": {"values": numbers, "format": "d"},
    }
    layers = points_with_bars(x=axis, y=percent_axis(), colour=colour("curve", names), extra={}, line=True)
    return Chart(
        f"by-context-{slug(dataset)}",
        f"{dataset}: accuracy by number of context pairs, 95 % intervals over users.",
        f"{len(names)} curves over k = {', '.join(map(str, numbers))} on {dataset}; numbers and slopes in the tables.",
        specification(rows, [*layers, rule_at(50.0, "y")]),
    )


FAMILY_NOTE = (
    "Accuracy in percent, mean of the runs; \N{PLUS-MINUS SIGN} is the paper's 95 % interval over the runs (Student's "
    "t), in brackets is ours over users. Stars: sign-flip test over users on the mean of the runs, Holm-corrected "
    "over the dataset's table (* 0.05, ** 0.01, *** 0.001)."
)


def families_section(material: Material) -> Section | None:
    """Table 5: the default judge against SynthesizeMe, a row a model, several runs."""
    full = next((m.name for m in material.methods if m.name == "persona_and_demonstrations"), None)
    models = [one for one in material.models if one.family]
    pairs = [
        (d.name, one)
        for d in material.datasets
        for one in models
        if full and material.main(d.name, "default", one.label)
    ]
    datasets = list(dict.fromkeys(name for name, _ in pairs))
    if not pairs or full is None:
        return None
    columns = tuple(
        Column(name, dataset) for dataset in datasets for name in ("default", "SynthesizeMe", "difference", "p (Holm)")
    )
    rows = tuple(
        Row(
            f"{material.label(one.label)}",
            tuple(v for name in datasets for v in _family_values(material, name, one.label, full)),
            one.family,
        )
        for one in models
        if any(found is one for _, found in pairs)
    )
    notes = (
        FAMILY_NOTE,
        _unscored(e for d, one in pairs for m in ("default", full) if (e := material.main(d, m, one.label))),
    )
    entries = [e for d, one in pairs if (e := material.main(d, "default", one.label))]
    n_runs = max(len(entry.seeds) for entry in entries)
    caption = f"Model families: default judge against SynthesizeMe, {_users(entries)}, {count(n_runs, 'run')}"
    table = Table("families", caption, "model", columns, rows, notes)
    return Section(
        "families",
        "Model families",
        "Table 5",
        ("The same prompts' method with models of different makers.",),
        (table, _published_families(material)),
    )


def _family_values(material: Material, dataset: str, model: str, full: str) -> Iterator[Value]:
    ours = material.main(dataset, full, model)
    for entry in (material.main(dataset, "default", model), ours):
        value = accuracy_value(entry)
        if entry and entry.runs and entry.runs.half_width == entry.runs.half_width:
            value = replace(value, text=f"{value.text} \N{PLUS-MINUS SIGN} {100 * entry.runs.half_width:.1f}")
        yield value
    row = material.summary.paired("reference", ours.cell) if ours else None
    if row is None or row.other.method != "default":
        yield from (Value("\N{EN DASH}"), Value("\N{EN DASH}"))
    else:
        c = row.comparison
        yield Value(points(c.difference), gap_interval(c.low, c.high), stars(row.p_holm))
        yield Value(p_text(row.p_holm))


def _published_families(material: Material) -> Table:
    rows: dict[str, list[Value]] = {}
    for one in material.published["families"]:
        for name in ("default", "synthesizeme"):
            half = one[f"{name}_half_width"]
            text = f"{one[name]:.2f}" + (f" \N{PLUS-MINUS SIGN} {half:.2f}" if half else "")
            rows.setdefault(one["model"], []).append(Value(text, mark=one["stars"] if name == "synthesizeme" else ""))
    columns = tuple(
        Column(name, f"published, {dataset}") for dataset in ("Arena", "PRISM") for name in ("default", "SynthesizeMe")
    )
    notes = ("The paper's Table 5, not measured here; \N{PLUS-MINUS SIGN} over five runs, stars as printed there.",)
    return Table(
        "families-published",
        "Published: model families (paper, Table 5)",
        "model",
        columns,
        tuple(Row(m, tuple(v)) for m, v in rows.items()),
        notes,
    )


def _billions(model: ModelInfo) -> str:
    return f"{(model.n_parameters or 0) / 1e9:g} billion"


def _users(entries: Iterator[EntrySummary] | list[EntrySummary]) -> str:
    numbers = sorted({entry.accuracy.n_users for entry in entries if entry.accuracy})
    return (
        f"{numbers[0]:,} users"
        if len(numbers) == 1
        else f"{numbers[0]:,} to {numbers[-1]:,} users"
        if numbers
        else "nothing scored"
    )


def _unscored(entries: Iterator[EntrySummary]) -> str:
    """The count that every table carries."""
    found = list(entries)
    return f"Unscored: {sum(e.n_unscored for e in found):,} of {sum(e.n_judgements for e in found):,} judgements."
