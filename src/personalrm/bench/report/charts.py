"""Pictures as Vega-Lite specifications; `pictures.py` checks them with Altair and renders them.

Colours are told apart by who cannot see red and green, shapes differ too, and every picture
has a table with the same numbers. Ink is one colour that the page may replace in the dark.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from personalrm.bench.report.material import Chart, Material, measured, slug
from personalrm.bench.results.summary import EntrySummary

INK, GRID = "#1a1b1c", "#d9dadb"
"""Text and rules; the page replaces both by its own."""
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7570b3", "#6b6b6b"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left"]
"""As many as colours, so that what shares a colour shares a shape at the ninth name only."""
WIDTH = 560
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name for the version; nothing is fetched."""
Rows = list[dict[str, Any]]


def accuracy_chart(material: Material, dataset: str, entries: Sequence[EntrySummary]) -> Chart:
    """Accuracy of every method with its interval, a colour a model, on and around the method's own line."""
    rows: Rows = [
        {"method": material.title(one.cell.method), "model": material.label(one.cell.model), **accuracy_fields(one)}
        for one in entries
        if one.accuracy
    ]
    most = _stand_around_lines(rows)
    offset = {"field": "aside", "type": "quantitative", "scale": {"domain": [-most / 2, most / 2]}}
    y = {"field": "method", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 320, "grid": True}}
    models = list(dict.fromkeys(row["model"] for row in rows))
    layers = points_with_bars(
        x=percent_axis(), y=y, colour=colour("model", models), extra={"yOffset": offset} if most > 1 else {}
    )
    best = max(rows, key=lambda row: float(row["accuracy"]), default=None)
    told = f" Highest: {best['method']} with {best['model']}, {best['accuracy']:.1f} %." if best else ""
    return Chart(
        f"accuracy-{slug(dataset)}",
        f"{dataset}: accuracy with 95 % intervals over users; {measured(entries)}. The dashed line is a coin.",
        f"Points with bars, one a method and model on {dataset}.{told}",
        specification(rows, [*layers, rule_at(50.0, "x")], height={"step": 12 + 9 * most}),
    )


def _stand_around_lines(rows: Rows) -> int:
    """Give each row its place beside its method's line, a lone one on it; the most rows that share a line."""
    lines: dict[str, Rows] = defaultdict(list)
    for row in rows:
        lines[row["method"]].append(row)
    for line in lines.values():
        for place, row in enumerate(line):
            row["aside"] = aside(place, len(line), 1.0)
    return max(map(len, lines.values()), default=1)


def aside(place: int, n: int, step: float) -> float:
    """How far the place-th of n stands beside the true value: bars at one value would cover each other."""
    return step * (place - (n - 1) / 2)


def aside_step(values: Sequence[float], n: int) -> float:
    """The step between n curves at which their bars lie apart and stay nearer to their own value than to the next."""
    gaps = [after - before for before, after in pairwise(sorted(set(values)))]
    return min(0.014 * sum(gaps), 0.7 * min(gaps) / n) if gaps else 0.1


def points_with_bars(
    *,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    colour: Mapping[str, Any],
    extra: Mapping[str, Any],
    line: bool = False,
) -> list[dict[str, Any]]:
    """Layers of points with their intervals; the axis with `low` and `high` is the one named `accuracy`."""
    is_along_x = x["field"] == "accuracy"
    ends = {
        "x" if is_along_x else "y": {**(x if is_along_x else y), "field": "low"},
        "x2" if is_along_x else "y2": {"field": "high"},
    }
    base = {"x": dict(x), "y": dict(y), "color": dict(colour), **extra}
    shape = {"shape": {**colour, "scale": {"domain": colour["sort"], "range": _repeated(SHAPES, len(colour["sort"]))}}}
    layers = [
        {"mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": {**base, **ends}},
        {"mark": {"type": "point", "filled": True, "size": 55, "opacity": 1}, "encoding": {**base, **shape}},
    ]
    return [{"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": base}, *layers] if line else layers


def colour(field: str, names: Sequence[str]) -> dict[str, Any]:
    """A colour a name, in a legend under the picture; shapes that follow it share the legend."""
    longest = max(map(len, names), default=0)
    legend = {
        "orient": "bottom",
        "title": None,
        "columns": 1 if longest > 44 else 2 if longest > 24 else 4,
        "labelLimit": 300,
    }
    return {
        "field": field,
        "type": "nominal",
        "sort": list(names),
        "scale": {"domain": list(names), "range": _repeated(COLOURS, len(names))},
        "legend": legend,
    }


def _repeated(signs: Sequence[str], n: int) -> list[str]:
    return [signs[place % len(signs)] for place in range(n)]


def rule_at(value: float, axis: str) -> dict[str, Any]:
    """A dashed line, such as a coin's 50 %."""
    return {"mark": {"type": "rule", "strokeDash": [4, 4], "color": INK}, "encoding": {axis: {"datum": value}}}


def percent_axis(title: str = "accuracy, %") -> dict[str, Any]:
    """The axis of accuracy, from wherever the data begins."""
    return {"field": "accuracy", "type": "quantitative", "title": title, "scale": {"zero": False, "nice": True}}


def specification(
    rows: Rows, layers: Sequence[Mapping[str, Any]], *, height: Any = 300, width: Any = WIDTH
) -> dict[str, Any]:
    """A whole specification with its data inside."""
    return {
        "$schema": SCHEMA,
        "data": {"values": rows},
        "layer": list(layers),
        "height": height,
        "width": width,
        "config": _config(),
    }


def faceted(whole: dict[str, Any], field: str, names: Sequence[str]) -> dict[str, Any]:
    """A small picture for each name, side by side, three in a row."""
    inner = {key: whole[key] for key in ("layer", "height", "width")}
    head = {"labelColor": INK, "labelFontSize": 12}
    facet = {"field": field, "type": "nominal", "sort": list(names), "title": None, "header": head}
    outer = {key: whole[key] for key in ("$schema", "data", "config")}
    return {**outer, "facet": facet, "columns": 3, "spec": inner}


def accuracy_fields(entry: EntrySummary) -> dict[str, Any]:
    """Accuracy and interval in percent; a single user has no interval, so the bar has no length."""
    a = entry.accuracy
    if a is None:
        return {}
    low, high = (a.accuracy, a.accuracy) if a.low != a.low else (a.low, a.high)
    return {"accuracy": round(100 * a.accuracy, 2), "low": round(100 * low, 2), "high": round(100 * high, 2)}


def _config() -> dict[str, Any]:
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
    return {
        "font": "Helvetica, Arial, sans-serif",
        "background": "white",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": GRID, "domainColor": INK, "tickColor": INK},
        "legend": text,
        "text": {"color": INK, "fontSize": 12},
    }
