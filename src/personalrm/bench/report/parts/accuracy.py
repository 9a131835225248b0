"""Table 3: all methods by all models, a table and a picture a dataset, published numbers beside ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from personalrm.bench.report.charts import (
    accuracy_fields,
    aside,
    color,
    percent_axis,
    points_with_bars,
    rule_at,
    specification,
)
from personalrm.bench.report.material import (
    PUBLISHED_MODELS,
    Chart,
    Content,
    Material,
    accuracy_value,
    interval,
    measured,
    p_text,
    paired_values,
    share,
    sizes,
    slug,
    unscored,
)
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.records import DatasetInfo
from personalrm.bench.results.summary import CellSummary
from personalrm.stats.accuracy import percent

TIE = "="
ALPHA = 0.05
SAME_SIZE = 0.2
"""A model is held against a published one when its parameters differ by at most this share (3.2 and 3 billion)."""


def main_content(material: Material) -> Content | None:
    """The wide table, the picture and the table of every number, for each dataset."""
    tables, charts = [], []
    for dataset in material.datasets:
        if entries := material.entries(dataset.name):
            tables += [_wide(material, dataset, entries), _long(material, dataset.name, entries)]
            tables.append(_differences(material, dataset.name, entries))
            if any(entry.accuracy for entry in entries):
                charts.append(_accuracy_chart(material, dataset.name, entries))
    words = (
        "Accuracy in percent of target pairs, both orders averaged; a tie or an unscored judgement counts 0.5. "
        "Brackets: 95 % interval, percentile bootstrap over users (10,000 resamples). Bold: the best of its column. "
        f"{TIE} marks methods that a paired sign-flip test over users, Holm-corrected, does not tell from the best."
    )
    return Content((words,), tables, charts) if tables else None


def _wide(material: Material, dataset: DatasetInfo, entries: list[CellSummary]) -> Table:
    entry_of = {(entry.cell.method, entry.cell.model): entry for entry in entries}
    labels = (None, *(model.label for model in material.models))
    shown = [label for label in labels if any(model == label for _, model in entry_of)]
    # size -> method -> the paper's number; empty for data the paper has no numbers on
    published: dict[str, dict[str, Value]] = {}
    titles: dict[str, str] = {}
    for row in material.published["accuracies"]:
        if row["source"] == "paper":
            titles[row["method"]] = row["title"]
            if row["dataset"] == material.benchmark(dataset.name):
                low, high = row["accuracy"] - row["half_width"], row["accuracy"] + row["half_width"]
                value = Value(f"{row['accuracy']:.2f}", (f"{low:.1f}", f"{high:.1f}"))
                published.setdefault(row["size"], {})[row["method"]] = value
    published = {size: published[size] for size in PUBLISHED_MODELS if size in published}

    def theirs(method: str) -> list[Value]:
        return [values.get(method, Value(DASH)) for values in published.values()]

    columns = [Column(material.label(label), "ours") for label in shown]
    columns += [Column(size, "published in the paper, not measured here") for size in published]
    rows = []
    methods = {method for method, _ in entry_of}
    for method in material.methods:
        if method.name in methods:
            ours = [_cell(material, entry_of.get((method.name, label))) for label in shown]
            rows.append(TableRow(method.title, [*ours, *theirs(method.name)], method.group))
    for name, title in titles.items():
        if name not in methods and any(name in values for values in published.values()):
            rows.append(TableRow(title, [Value(DASH)] * len(shown) + theirs(name), "not in this run"))
    notes = [f"{unscored(entries)} By method below."]
    scripted = {model.label for model in material.models if model.is_scripted}
    if any(entry.cell.model in scripted for entry in entries):
        notes.append("Scripted models are fakes that follow a script; their numbers say nothing about language models.")
    if published:
        notes.append(
            "Published numbers: the paper's Table 3 with its own 95 % interval over single judgements. They were "
            "measured on 284 (Arena) or 3,033 (PRISM) target pairs; elsewhere they are a landmark, not a comparison."
        )
        notes += _reproduced(material, dataset.name, entries)
    caption = f"{dataset.name}: accuracy in percent, {sizes(entries)}"
    return Table(f"accuracy-{slug(dataset.name)}", caption, "method", columns, rows, notes)


def _cell(material: Material, entry: CellSummary | None) -> Value:
    if entry is None or entry.cell.model is None:  # controls do not compete, so none of them is the best
        return accuracy_value(entry)
    row = material.summary.paired("best", entry.cell)
    if row is not None:
        mark = TIE if row.p_holm >= ALPHA else ""
        return accuracy_value(entry, is_best=row.comparison.difference == 0.0, mark=mark)
    # the best of a column is what others are compared with; alone in its column it is not marked
    comparisons = material.summary.comparisons
    is_best = any(other.kind == "best" and other.other == entry.cell for other in comparisons)
    return accuracy_value(entry, is_best=is_best)


def _reproduced(material: Material, dataset: str, entries: list[CellSummary]) -> Iterator[str]:
    """Which published values lie in our interval, where pairs and size of the model are the same."""
    name = material.benchmark(dataset)
    n_published = material.published["statistics"][name]["n_target_pairs"]
    size_of = {m.label: m.n_parameters for m in material.models if not m.is_scripted and m.n_parameters}
    for entry in entries:
        accuracy, parameters = entry.accuracy, size_of.get(entry.cell.model or "")
        if accuracy is None or parameters is None or accuracy.n_pairs != n_published:
            continue
        for row in material.published["accuracies"]:
            is_same = (row["source"], row["dataset"], row["method"]) == ("paper", name, entry.cell.method)
            if is_same and abs(parameters / PUBLISHED_MODELS[row["size"]] - 1) <= SAME_SIZE:
                is_inside = accuracy.low <= row["accuracy"] / 100 <= accuracy.high
                verdict = "lies in" if is_inside else "lies outside"
                yield f"{material.name_of(entry)}: the published {row['accuracy']} {verdict} our interval."


def _long(material: Material, dataset: str, entries: list[CellSummary]) -> Table:
    """Every number of every method and model of a dataset."""
    names = (
        "model", "accuracy", "macro", "scored only", "single orders", "paper's interval", "users", "pairs", "unscored",
        "half scored", "ties",
    )  # fmt: skip
    rows = []
    for entry in entries:
        a, paper = entry.accuracy, entry.paper_ci
        values = [
            Value(material.label(entry.cell.model)),
            accuracy_value(entry),
            Value(percent(a.macro), interval(a.macro_low, a.macro_high)) if a else Value(DASH),
            Value(percent(a.accuracy_scored) if a else DASH),
            Value(share(entry.accuracy_orders)),
            Value("", interval(paper.low, paper.high)) if paper else Value(DASH),
            Value(f"{a.n_users:,}" if a else DASH),
            Value(f"{a.n_pairs:,}" if a else DASH),
        ]
        values += [Value(f"{n:,}") for n in (entry.n_unscored, a.n_half_scored if a else 0, a.n_ties if a else 0)]
        rows.append(TableRow(material.title(entry.cell.method), values, material.group(entry.cell.method)))
    note = (
        "Macro: mean over users. Scored only: without unscored judgements. Single orders and the interval beside it "
        "are the paper's, over single judgements; it ignores who judged, so it is too narrow."
    )
    caption = f"{dataset}: every number, {sizes(entries)}"
    return Table(f"numbers-{slug(dataset)}", caption, "method", [Column(name) for name in names], rows, (note,))


def _differences(material: Material, dataset: str, entries: list[CellSummary]) -> Table:
    """Paired comparisons of every method and model of a dataset."""
    columns = (
        Column("model"), *(Column(name, "against the reference") for name in ("points", "p", "p (Holm)", "McNemar p")),
        *(Column(name, "own minus shuffled user") for name in ("points", "p", "p (Holm)")),
        Column("users"), Column("unscored"),
    )  # fmt: skip
    rows = []
    for entry in entries:
        values = [Value(material.label(entry.cell.model))]
        for kind, n_columns in (("reference", 4), ("shuffled_user", 3)):
            row = material.summary.paired(kind, entry.cell)
            difference, p_holm = paired_values(row)
            more = (
                [Value(p_text(p)) for p in (row.comparison.p, row.comparison.mcnemar_p)] if row else [Value(DASH)] * 2
            )
            values += [difference, more[0], p_holm, more[1]][:n_columns]
        values += [Value(f"{entry.accuracy.n_users:,}" if entry.accuracy else DASH), Value(f"{entry.n_unscored:,}")]
        rows.append(TableRow(material.title(entry.cell.method), values, material.group(entry.cell.method)))
    note = (
        "Reference: the default judge with the same model, else the population, else the longer completion. Points "
        "on the pairs both judged, 95 % interval over users; p: sign-flip test over users; stars after Holm over this "
        "table (* 0.05, ** 0.01, *** 0.001). McNemar's test ignores clustering."
    )
    caption = f"{dataset}: paired comparisons, {sizes(entries)}"
    return Table(f"paired-{slug(dataset)}", caption, "method", columns, rows, (note,))


def _accuracy_chart(material: Material, dataset: str, entries: Sequence[CellSummary]) -> Chart:
    """Accuracy of every method with its interval, a color a model, on and around the method's own line."""
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows: list[dict[str, Any]] = []
    for entry in entries:
        if entry.accuracy:
            names = {"method": material.title(entry.cell.method), "model": material.label(entry.cell.model)}
            rows.append({**names, **accuracy_fields(entry)})
            lines[names["method"]].append(rows[-1])
    for line in lines.values():  # a lone row stands on its line, several stand around it
        for place, row in enumerate(line):
            row["aside"] = aside(place, len(line), 1.0)
    most = max(map(len, lines.values()), default=1)
    offset = {"field": "aside", "type": "quantitative", "scale": {"domain": [-most / 2, most / 2]}}
    y = {"field": "method", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 320, "grid": True}}
    models = list(dict.fromkeys(row["model"] for row in rows))
    layers = points_with_bars(
        x=percent_axis(), y=y, color=color("model", models), extra={"yOffset": offset} if most > 1 else {}
    )
    best = max(rows, key=lambda row: float(row["accuracy"]), default=None)
    highest = f" Highest: {best['method']} with {best['model']}, {best['accuracy']:.1f} %." if best else ""
    return Chart(
        f"accuracy-{slug(dataset)}",
        f"{dataset}: accuracy with 95 % intervals over users; {measured(entries)}. The dashed line is a coin.",
        f"Points with bars, one a method and model on {dataset}.{highest}",
        specification(rows, [*layers, rule_at(50.0, "x")], height={"step": 12 + 9 * most}),
    )
