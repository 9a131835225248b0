"""What was judged: statistics of the datasets, and what building them removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from personalrm.bench.report.charts import COLORS, specification
from personalrm.bench.report.material import Chart, Content, Material, share, slug
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.records import DatasetInfo, FunnelRow

STATISTICS = {
    "n_users": "users", "n_conversations": "conversations", "n_pairs": "pairs", "n_unique_queries": "unique queries",
    "multi_turn_share": "multi-turn, %", "n_context_pairs": "context pairs",
    "n_target_users": "target users", "n_target_pairs": "target pairs",
    "n_left_out_too_few": "users left out: too few pairs", "n_left_out_no_target": "users left out: no target pairs",
}  # fmt: skip
MOST_EXAMPLES = 3


def data_content(material: Material) -> Content | None:
    """One table of statistics; a funnel a dataset that was built."""
    if not material.datasets:
        return None
    tables, charts = [_statistics_table(material)], []
    for dataset in material.datasets:
        if dataset.funnel:
            tables.append(_funnel_table(material, dataset, dataset.funnel))
            charts.append(_funnel_chart(dataset.name, dataset.funnel))
    return Content((), tables, charts)


def _statistics_table(material: Material) -> Table:
    known = {name for dataset in material.datasets for name in dataset.statistics}
    names = [*(name for name in STATISTICS if name in known), *sorted(known - set(STATISTICS))]
    columns = []
    for name in names:  # a statistic that this file does not know keeps its own words
        plain = name.removeprefix("n_").replace("_", " ")
        words = f"{plain.removesuffix(' share')}, %" if name.endswith("_share") else plain
        columns.append(Column(STATISTICS.get(name) or words))
    columns += [Column("licence"), Column("SHA-256, first 12 digits")]
    rows = []
    for dataset in material.datasets:
        values = [_statistic(name, dataset.statistics.get(name)) for name in names]
        values += [Value(dataset.licence or "not given"), Value(dataset.hash[:12] or "not given")]
        rows.append(TableRow(dataset.name, values))
    for name in dict.fromkeys(filter(None, (material.benchmark(dataset.name) for dataset in material.datasets))):
        published = material.published["statistics"][name]
        values = [*(_statistic(key, published.get(key)) for key in names), Value(), Value()]
        rows.append(TableRow(f"published: {name}", values, "published in the paper, not measured here"))
    return Table("datasets", "Statistics of the datasets", "dataset", columns, rows)


def _statistic(name: str, value: float | None) -> Value:
    if value is None:
        return Value(DASH)
    if name.endswith("_share"):
        return Value(share(value))
    return Value(f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}")


def _funnel_table(material: Material, dataset: DatasetInfo, funnel: Sequence[FunnelRow]) -> Table:
    shows, name = material.shows(dataset), material.benchmark(dataset.name)
    published = {row["stage"]: row for row in material.published["funnel"]} if name else {}
    columns = [Column(heading) for heading in ("pairs", "users", "pairs removed", "why", "examples removed")]
    columns += [Column("pairs (users)", "published, not measured here")] if published else []
    rows = []
    for stage in funnel:
        # the first example of every reason before the second of any
        seen: Counter[str] = Counter()
        ranked = []
        for removed in stage.examples:
            ranked.append((seen[removed.reason], removed))
            seen[removed.reason] += 1
        examples = []
        for _, removed in sorted(ranked, key=lambda ranked: ranked[0])[:MOST_EXAMPLES]:
            example = f"{removed.pair} ({removed.reason})" if len(stage.reasons) > 1 else removed.pair
            examples.append(f"{example}: {removed.text[:120]}" if shows and removed.text else example)
        values = [Value(f"{n:,}") for n in (stage.n_pairs, stage.n_users, stage.n_removed)]
        values.append(Value("\n".join(f"{reason}: {n:,}" for reason, n in stage.reasons.items())))
        values.append(Value("\n".join(examples)))
        if published:
            theirs = published.get(stage.stage)
            values.append(Value(f"{theirs[f'{name}_pairs']:,} ({theirs[f'{name}_users']:,})" if theirs else DASH))
        rows.append(TableRow(stage.stage, values))
    hidden = "Examples by pair id; queries are shown where the data's licence allows it or with --texts all."
    caption = f"{dataset.name}: what each stage left and removed"
    return Table(f"funnel-{slug(dataset.name)}", caption, "stage", columns, rows, () if shows else (hidden,))


def _funnel_chart(dataset: str, funnel: Sequence[FunnelRow]) -> Chart:
    rows: list[dict[str, Any]] = [{"stage": stage.stage, "pairs": stage.n_pairs} for stage in funnel]
    y = {"field": "stage", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 240}}
    x = {"field": "pairs", "type": "quantitative", "title": "pairs", "axis": {"format": ",d", "tickCount": 5}}
    layers = [
        {"mark": {"type": "bar", "color": COLORS[0], "height": 16}, "encoding": {"x": x, "y": y}},
        {
            "mark": {"type": "text", "align": "left", "dx": 4},
            "encoding": {"x": x, "y": y, "text": {"field": "pairs", "format": ",d"}},
        },
    ]
    return Chart(
        f"funnel-{slug(dataset)}",
        f"{dataset}: pairs left after each stage.",
        f"Bars of pairs by stage, from {funnel[0].n_pairs:,} to {funnel[-1].n_pairs:,} pairs in {len(funnel)} stages.",
        specification(rows, layers, height={"step": 28}, width=460),
    )
