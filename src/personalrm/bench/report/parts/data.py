"""What was judged: statistics of the datasets, and what building them removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from personalrm.bench.report.charts import COLOURS, specification
from personalrm.bench.report.material import Chart, Material, Section, share, slug
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.records import DatasetInfo, FunnelRow, Removed

STATISTICS = {
    "n_users": "users", "n_conversations": "conversations", "n_pairs": "pairs", "n_unique_queries": "unique queries",
    "multi_turn_share": "multi-turn, %", "n_context_pairs": "context pairs",
    "n_target_users": "target users", "n_target_pairs": "target pairs",
    "n_left_out_too_few": "users left out: too few pairs", "n_left_out_no_target": "users left out: no target pairs",
}  # fmt: skip
MOST_EXAMPLES = 3


def data_section(material: Material) -> Section | None:
    """One table of statistics; a funnel a dataset that was built."""
    if not material.datasets:
        return None
    tables, charts = [_statistics_table(material)], []
    for one in material.datasets:
        if one.funnel:
            tables.append(_funnel_table(material, one))
            charts.append(_funnel_chart(one))
    return Section("data", "Data", "benchmark statistics and appendix C", (), tuple(tables), tuple(charts))


def _statistics_table(material: Material) -> Table:
    known = {name for one in material.datasets for name in one.statistics}
    names = [*(name for name in STATISTICS if name in known), *sorted(known - set(STATISTICS))]
    columns = (*(Column(_words(name)) for name in names), Column("licence"), Column("SHA-256, first 12 digits"))
    rows = [
        TableRow(
            one.name,
            (
                *(_statistic(name, one.statistics.get(name)) for name in names),
                Value(one.licence or "not given"),
                Value(one.hash[:12] or "not given"),
            ),
        )
        for one in material.datasets
    ]
    for name in dict.fromkeys(filter(None, (material.benchmark(one.name) for one in material.datasets))):
        published = material.published["statistics"][name]
        cells = (*(_statistic(key, published.get(key)) for key in names), Value(), Value())
        rows.append(TableRow(f"published: {name}", cells, "published in the paper, not measured here"))
    return Table("datasets", "Statistics of the datasets", "dataset", columns, tuple(rows))


def _words(name: str) -> str:
    """A statistic as people read it; one that this file does not know keeps its own words."""
    plain = name.removeprefix("n_").replace("_", " ")
    return STATISTICS.get(name) or (f"{plain.removesuffix(' share')}, %" if name.endswith("_share") else plain)


def _statistic(name: str, value: float | None) -> Value:
    if value is None:
        return Value(DASH)
    return Value(
        share(value) if name.endswith("_share") else f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
    )


def _funnel_table(material: Material, dataset: DatasetInfo) -> Table:
    shows, name = material.shows(dataset), material.benchmark(dataset.name)
    published = {one["stage"]: one for one in material.published["funnel"]} if name else {}
    columns = [Column(one) for one in ("pairs", "users", "pairs removed", "why", "examples removed")]
    columns += [Column("pairs (users)", "published, not measured here")] if published else []
    rows = []
    for stage in dataset.funnel or ():
        values = _stage_values(stage, shows)
        if published:
            theirs = published.get(stage.stage)
            values.append(Value(f"{theirs[f'{name}_pairs']:,} ({theirs[f'{name}_users']:,})" if theirs else DASH))
        rows.append(TableRow(stage.stage, tuple(values)))
    hidden = "Examples by pair id; queries are shown where the data's licence allows it or with --texts all."
    return Table(
        f"funnel-{slug(dataset.name)}", f"{dataset.name}: what each stage left and removed",
        "stage", tuple(columns), tuple(rows), () if shows else (hidden,),
    )  # fmt: skip


def _stage_values(stage: FunnelRow, shows: bool) -> list[Value]:
    why = "\n".join(f"{reason}: {n:,}" for reason, n in stage.reasons.items())
    examples = "\n".join(_example(one, shows, len(stage.reasons) > 1) for one in _spread(stage.examples))
    counts = [Value(f"{n:,}") for n in (stage.n_pairs, stage.n_users, stage.n_removed)]
    return [*counts, Value(why), Value(examples)]


def _spread(examples: Sequence[Removed]) -> list[Removed]:
    """A few examples, the first of every reason before the second of any."""
    seen: Counter[str] = Counter()
    ranked = []
    for one in examples:
        ranked.append((seen[one.reason], one))
        seen[one.reason] += 1
    return [one for _, one in sorted(ranked, key=lambda ranked: ranked[0])[:MOST_EXAMPLES]]


def _example(removed: Removed, shows: bool, says_why: bool) -> str:
    name = f"{removed.pair} ({removed.reason})" if says_why else removed.pair
    return f"{name}: {removed.text[:120]}" if shows and removed.text else name


def _funnel_chart(dataset: DatasetInfo) -> Chart:
    funnel = dataset.funnel or ()
    rows: list[dict[str, Any]] = [{"stage": one.stage, "pairs": one.n_pairs} for one in funnel]
    y = {"field": "stage", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 240}}
    x = {"field": "pairs", "type": "quantitative", "title": "pairs", "axis": {"format": ",d", "tickCount": 5}}
    layers = [
        {"mark": {"type": "bar", "color": COLOURS[0], "height": 16}, "encoding": {"x": x, "y": y}},
        {
            "mark": {"type": "text", "align": "left", "dx": 4},
            "encoding": {"x": x, "y": y, "text": {"field": "pairs", "format": ",d"}},
        },
    ]
    told = f"from {funnel[0].n_pairs:,} to {funnel[-1].n_pairs:,} pairs in {len(funnel)} stages" if funnel else "empty"
    return Chart(
        f"funnel-{slug(dataset.name)}", f"{dataset.name}: pairs left after each stage.",
        f"Bars of pairs by stage, {told}.",
        specification(rows, layers, height={"step": 28}, width=460),
    )  # fmt: skip
