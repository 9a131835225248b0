"""Personas and demographics: a map a column, and how far its groups lie apart (Figure 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalrm.bench.report.charts import colour, specification
from personalrm.bench.report.experiments import Found, found_in, title_of
from personalrm.bench.report.material import (
    Chart,
    Material,
    Section,
    number,
    p_text,
    share,
    slug,
)
from personalrm.bench.report.tables import Column, Row, Table, Value

MOST_COLOURS = 8


def map_section(material: Material) -> Section | None:
    """A picture a column, and how far its groups lie apart."""
    found = found_in(material, "map")
    if not found:
        return None
    columns = tuple(
        Column(name) for name in ("users", "groups", "silhouette", "p", "classifier %", "chance %", "classifier p")
    )
    rows = tuple(
        Row(row["column"], tuple(_separability(row)), title_of(material, one))
        for one in found
        for row in one.content["separability"]
    )
    notes = (
        "p-values against labels dealt out at random; the classifier names people it has not seen, groups weigh alike.",
    )
    table = Table("persona-map", "How far groups of people lie apart in their personas", "column", columns, rows, notes)
    charts = [_map_chart(material, one, column) for one in found for column in one.content["labels"] or {"": ()}]
    kinds = dict.fromkeys(str(one.content["kind"]) for one in found)
    text = (f"Vectors: {'; '.join(kinds)}. t-SNE keeps neighbours, not distances: read the table, not the picture.",)
    return Section(
        "persona-map", "Personas and demographics", "Figure 10", text, (table,) if rows else (), tuple(charts)
    )


def _separability(row: Mapping[str, Any]) -> list[Value]:
    return [
        Value(str(row["n_users"])),
        Value(str(row["n_groups"])),
        Value(number(row["silhouette"])),
        Value(p_text(row["silhouette_p"])),
        Value(share(row["accuracy"])),
        Value(share(row["chance"])),
        Value(p_text(row["accuracy_p"])),
    ]


def _map_chart(material: Material, one: Found, column: str) -> Chart:
    content, name = one.content, column or "persona"
    labels = content["labels"].get(column) or ["persona"] * len(content["points"])
    names = sorted(set(labels), key=lambda label: (-labels.count(label), label))
    shown = set(names[:MOST_COLOURS])
    rows = [
        {"x": x, "y": y, name: label if label in shown else "other groups"}
        for (x, y), label in zip(content["points"], labels, strict=True)
    ]
    legend = [*names[:MOST_COLOURS], *(["other groups"] if len(names) > MOST_COLOURS else [])]
    axis = {"type": "quantitative", "title": None, "axis": {"labels": False, "ticks": False}, "scale": {"zero": False}}
    encoding = {
        "x": {"field": "x", **axis},
        "y": {"field": "y", **axis},
        "color": colour(name, legend),
        "shape": {"field": name, "type": "nominal", "legend": None, "sort": legend},
    }
    layer = {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85}, "encoding": encoding}
    return Chart(
        f"persona-map-{slug(f'{one.cell.name}-{name}')}",
        f"{title_of(material, one)}: personas by t-SNE, coloured by {name}.",
        f"Points of the plane, one a persona, coloured by {name}; how far groups lie apart stands in the table.",
        specification(rows, [layer], height=380),
    )
