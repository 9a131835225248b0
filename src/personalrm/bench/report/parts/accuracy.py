"""Table 3: all methods by all models, a table and a picture a dataset, published numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterator

from personalrm.bench.report.charts import accuracy_chart
from personalrm.bench.report.material import (
    PUBLISHED_MODELS,
    Material,
    Section,
    accuracy_value,
    gap_interval,
    interval,
    p_text,
    share,
    sizes,
    slug,
    unscored,
)
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.records import DatasetInfo
from personalrm.bench.results.summary import EntrySummary
from personalrm.stats.accuracy import percent
from personalrm.stats.paired import points
from personalrm.stats.runs import stars

TIE = "="
ALPHA = 0.05
SAME_SIZE = 0.2
"""A model is held against a published one when its parameters differ by at most this share (3.2 and 3 billion)."""


def main_section(material: Material) -> Section | None:
    """The wide table, the picture and the table of every number, for each dataset."""
    tables, charts = [], []
    for dataset in material.datasets:
        entries = list(_entries(material, dataset.name))
        if entries:
            tables += [_wide(material, dataset), _long(material, dataset.name, entries)]
            tables.append(_differences(material, dataset.name, entries))
            if any(entry.accuracy for entry in entries):
                charts.append(accuracy_chart(material, dataset.name, entries))
    words = (
        "Accuracy in percent of target pairs, both orders averaged; a tie or an unscored judgement counts 0.5. "
        "Brackets: 95 % interval, percentile bootstrap over users (10,000 resamples). Bold: the best of its column. "
        f"{TIE} marks methods that a paired sign-flip test over users, Holm-corrected, does not tell from the best."
    )
    return (
        Section("accuracy", "Accuracy of all methods", "Table 3", (words,), tuple(tables), tuple(charts))
        if tables
        else None
    )


def _entries(material: Material, dataset: str) -> Iterator[EntrySummary]:
    for method in material.methods:
        for model in (None, *(one.label for one in material.models)):
            if (entry := material.main(dataset, method.name, model)) is not None:
                yield entry


def _wide(material: Material, dataset: DatasetInfo) -> Table:
    labels = [None, *(one.label for one in material.models)]
    shown = [label for label in labels if any(material.main(dataset.name, m.name, label) for m in material.methods)]
    published = _published(material, dataset.name)
    columns = [Column(material.label(label), "ours") for label in shown]
    columns += [Column(size, "published in the paper, not measured here") for size in published]
    rows = []
    for method in material.methods:
        cells = [_cell(material, dataset.name, method.name, label) for label in shown]
        cells += [values.get(method.name, Value(DASH)) for values in published.values()]
        if any(material.main(dataset.name, method.name, label) for label in shown):
            rows.append(TableRow(method.title, tuple(cells), method.group))
    rows += _only_published(material, dataset.name, len(shown), published)
    return Table(
        f"accuracy-{slug(dataset.name)}",
        f"{dataset.name}: accuracy in percent, {sizes(_entries(material, dataset.name))}",
        "method", tuple(columns), tuple(rows), tuple(_notes(material, dataset, bool(published))),
    )  # fmt: skip


def _cell(material: Material, dataset: str, method: str, model: str | None) -> Value:
    entry = material.main(dataset, method, model)
    if entry is None or model is None:  # controls are no contest, so none of them is the best
        return accuracy_value(entry)
    row = material.summary.paired("best", entry.cell)
    is_alone = row is None and not any(
        other.kind == "best" and other.other == entry.cell for other in material.summary.comparisons
    )
    if row is None:
        return accuracy_value(entry, is_best=not is_alone)
    return accuracy_value(entry, is_best=row.comparison.difference == 0.0, mark=TIE if row.p_holm >= ALPHA else "")


def _published(material: Material, dataset: str) -> dict[str, dict[str, Value]]:
    """Size -> method -> the paper's number; empty for data the paper has no numbers on."""
    name = material.benchmark(dataset)
    rows = [row for row in material.published["accuracies"] if row["source"] == "paper" and row["dataset"] == name]
    return {
        size: {
            row["method"]: Value(f"{row['accuracy']:.2f}", (
                f"{row['accuracy'] - row['half_width']:.1f}", f"{row['accuracy'] + row['half_width']:.1f}"
            ))
            for row in rows if row["size"] == size
        }
        for size in PUBLISHED_MODELS
        if rows
    }  # fmt: skip


def _only_published(
    material: Material, dataset: str, n_ours: int, published: dict[str, dict[str, Value]]
) -> Iterator[TableRow]:
    """Methods of the paper that this run did not have."""
    ours = {entry.cell.method for entry in _entries(material, dataset)}
    titles = {row["method"]: row["title"] for row in material.published["accuracies"] if row["source"] == "paper"}
    for method, title in titles.items():
        if method not in ours and any(method in values for values in published.values()):
            cells = [Value(DASH)] * n_ours + [values.get(method, Value(DASH)) for values in published.values()]
            yield TableRow(title, tuple(cells), "not in this run")


def _notes(material: Material, dataset: DatasetInfo, has_published: bool) -> Iterator[str]:
    entries = list(_entries(material, dataset.name))
    yield f"{unscored(entries)} By method below."
    scripted = {one.label for one in material.models if one.is_scripted}
    if any(entry.cell.model in scripted for entry in entries):
        yield "Scripted models are fakes that follow a script; their numbers say nothing about language models."
    if has_published:
        yield (
            "Published numbers: the paper's Table 3 with its own 95 % interval over single judgements. They were "
            "measured on 284 (Arena) or 3,033 (PRISM) target pairs; elsewhere they are a landmark, not a comparison."
        )
        yield from _reproduced(material, dataset.name, entries)


def _reproduced(material: Material, dataset: str, entries: list[EntrySummary]) -> Iterator[str]:
    """Which published values lie in our interval, where pairs and size of the model are the same."""
    statistics = material.published["statistics"][material.benchmark(dataset)]
    size_of = {one.label: one.n_parameters for one in material.models if not one.is_scripted and one.n_parameters}
    for entry in entries:
        accuracy, parameters = entry.accuracy, size_of.get(entry.cell.model or "")
        if accuracy is None or parameters is None or accuracy.n_pairs != statistics["n_target_pairs"]:
            continue
        for row in material.published["accuracies"]:
            is_same = (row["source"], row["dataset"], row["method"]) == (
                "paper",
                material.benchmark(dataset),
                entry.cell.method,
            )
            if is_same and abs(parameters / PUBLISHED_MODELS[row["size"]] - 1) <= SAME_SIZE:
                inside = accuracy.low <= row["accuracy"] / 100 <= accuracy.high
                verdict = "lies in" if inside else "lies outside"
                name = f"{material.title(entry.cell.method)}, {material.label(entry.cell.model)}"
                yield f"{name}: the published {row['accuracy']} {verdict} our interval."


def _long(material: Material, dataset: str, entries: list[EntrySummary]) -> Table:
    """Every number of every method and model of a dataset."""
    names = (
        "model", "accuracy", "macro", "scored only", "single orders", "paper's interval", "users", "pairs", "unscored",
        "half scored", "ties",
    )  # fmt: skip
    rows = tuple(_row(material, entry, _numbers(material, entry)) for entry in entries)
    note = (
        "Macro: mean over users. Scored only: without unscored judgements. Single orders and the interval beside it "
        "are the paper's, over single judgements; it ignores who judged, so it is too narrow."
    )
    caption = f"{dataset}: every number, {sizes(entries)}"
    return Table(f"numbers-{slug(dataset)}", caption, "method", tuple(map(Column, names)), rows, (note,))


def _differences(material: Material, dataset: str, entries: list[EntrySummary]) -> Table:
    """Paired comparisons of every method and model of a dataset."""
    columns = (
        Column("model"), *(Column(name, "against the reference") for name in ("points", "p", "p (Holm)", "McNemar p")),
        *(Column(name, "own minus shuffled user") for name in ("points", "p", "p (Holm)")),
        Column("users"), Column("unscored"),
    )  # fmt: skip
    rows = tuple(_row(material, entry, _comparisons(material, entry)) for entry in entries)
    note = (
        "Reference: the default judge with the same model, else the population, else the longer completion. Points "
        "on the pairs both judged, 95 % interval over users; p: sign-flip test over users; stars after Holm over this "
        "table (* 0.05, ** 0.01, *** 0.001). McNemar's test ignores clustering."
    )
    caption = f"{dataset}: paired comparisons, {sizes(entries)}"
    return Table(f"paired-{slug(dataset)}", caption, "method", columns, rows, (note,))


def _row(material: Material, entry: EntrySummary, values: Iterator[Value]) -> TableRow:
    group = next((one.group for one in material.methods if one.name == entry.cell.method), "")
    return TableRow(material.title(entry.cell.method), tuple(values), group)


def _numbers(material: Material, entry: EntrySummary) -> Iterator[Value]:
    a = entry.accuracy
    yield Value(material.label(entry.cell.model))
    yield accuracy_value(entry)
    yield Value(percent(a.macro), interval(a.macro_low, a.macro_high)) if a else Value(DASH)
    yield Value(percent(a.accuracy_scored) if a else DASH)
    yield Value(share(entry.accuracy_orders))
    yield Value("", interval(entry.paper_ci.low, entry.paper_ci.high)) if entry.paper_ci else Value(DASH)
    yield from (Value(f"{a.n_users:,}" if a else DASH), Value(f"{a.n_pairs:,}" if a else DASH))
    for n in (entry.n_unscored, a.n_half_scored if a else 0, a.n_ties if a else 0):
        yield Value(f"{n:,}")


def _comparisons(material: Material, entry: EntrySummary) -> Iterator[Value]:
    yield Value(material.label(entry.cell.model))
    for kind in ("reference", "shuffled_user"):
        row = material.summary.paired(kind, entry.cell)
        if row is None:
            yield from [Value(DASH)] * (4 if kind == "reference" else 3)
            continue
        c = row.comparison
        yield Value(points(c.difference), gap_interval(c.low, c.high), stars(row.p_holm))
        yield from (Value(p_text(c.p)), Value(p_text(row.p_holm)))
        if kind == "reference":
            yield Value(p_text(c.mcnemar_p))
    yield from (Value(f"{entry.accuracy.n_users:,}" if entry.accuracy else DASH), Value(f"{entry.n_unscored:,}"))
