"""Pictures as Vega-Lite specifications; `pictures.py` checks them with Altair and renders them.

Colors are told apart by who cannot see red and green, shapes differ too, and every picture
has a table with the same numbers. Ink is one color that the page may replace in the dark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from personalrm.bench.results.summary import CellSummary

INK, GRID = "#1a1b1c", "#d9dadb"
"""Text and rules; the page replaces both by its own."""
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7570b3", "#6b6b6b"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left"]
"""As many as colors, so that what shares a color shares a shape at the ninth name only."""
WIDTH = 560
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""A name for the version; nothing is fetched."""
Rows = list[dict[str, Any]]
NOTHING: Mapping[str, Any] = MappingProxyType({})


def aside(place: int, n: int, step: float) -> float:
    """How far the place-th of n stands beside the true value: bars at one value would cover each other."""
    return step * (place - (n - 1) / 2)


def points_with_bars(
    *,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    color: Mapping[str, Any],
    extra: Mapping[str, Any] = NOTHING,
    line: bool = False,
) -> list[dict[str, Any]]:
    """Layers of points with their intervals; the axis with `low` and `high` is the one named `accuracy`."""
    is_along_x = x["field"] == "accuracy"
    ends = {
        "x" if is_along_x else "y": {**(x if is_along_x else y), "field": "low"},
        "x2" if is_along_x else "y2": {"field": "high"},
    }
    base = {"x": dict(x), "y": dict(y), "color": dict(color), **extra}
    shape = {"shape": {**color, "scale": {"domain": color["sort"], "range": _repeated(SHAPES, len(color["sort"]))}}}
    layers = [
        {"mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": {**base, **ends}},
        {"mark": {"type": "point", "filled": True, "size": 55, "opacity": 1}, "encoding": {**base, **shape}},
    ]
    return [{"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": base}, *layers] if line else layers


def curves(
    rows: Rows,
    field: str,
    names: Sequence[str],
    x: Mapping[str, Any],
    *,
    bend: Callable[[float], float],
    move: Callable[[float, float], float],
) -> dict[str, Any]:
    """A line a name over a number, its points a little aside of theirs, so that bars do not cover each other.

    Args:
        rows: Accuracies with the name of their curve and `at`, their number, which is moved aside.
        field: What names the curve of a row.
        names: Of the curves, in the order of the legend.
        x: The axis of `at`; its values are those of all numbers.
        bend: From a number to where it stands on the axis.
        move: From a number and how far it is moved along the axis to the moved number.
    """
    # bars lie apart and stay nearer to their own value than to the next
    gaps = [after - before for before, after in pairwise(map(bend, x["axis"]["values"]))]
    step = min(0.014 * sum(gaps), 0.7 * min(gaps) / len(names)) if gaps else 0.1
    for row in rows:
        row["at"] = move(row["at"], aside(names.index(row[field]), len(names), step))
    layers = points_with_bars(x=x, y=percent_axis(), color=color(field, names), line=True)
    return specification(rows, [*layers, rule_at(50.0, "y")])


def color(field: str, names: Sequence[str]) -> dict[str, Any]:
    """A color a name, in a legend under the picture; shapes that follow it share the legend."""
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
        "scale": {"domain": list(names), "range": _repeated(COLORS, len(names))},
        "legend": legend,
    }


def _repeated(signs: Sequence[str], n: int) -> list[str]:
    return [signs[place % len(signs)] for place in range(n)]


def rule_at(value: float, axis: str) -> dict[str, Any]:
    """A dashed line, such as a coin's 50 %."""
    return {"mark": {"type": "rule", "strokeDash": [4, 4], "color": INK}, "encoding": {axis: {"datum": value}}}


def percent_axis() -> dict[str, Any]:
    """The axis of accuracy, from wherever the data begins."""
    scale = {"zero": False, "nice": True}
    return {"field": "accuracy", "type": "quantitative", "title": "accuracy, %", "scale": scale}


def specification(
    rows: Rows, layers: Sequence[Mapping[str, Any]], *, height: Any = 300, width: Any = WIDTH
) -> dict[str, Any]:
    """A whole specification with its data inside."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
    config = {
        "font": "Helvetica, Arial, sans-serif",
        "background": "white",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": GRID, "domainColor": INK, "tickColor": INK},
        "legend": text,
        "text": {"color": INK, "fontSize": 12},
    }
    return {
        "$schema": SCHEMA,
        "data": {"values": rows},
        "layer": list(layers),
        "height": height,
        "width": width,
        "config": config,
    }


def faceted(whole: dict[str, Any], field: str, names: Sequence[str]) -> dict[str, Any]:
    """A small picture for each name, side by side, three in a row."""
    inner = {key: whole[key] for key in ("layer", "height", "width")}
    head = {"labelColor": INK, "labelFontSize": 12}
    facet = {"field": field, "type": "nominal", "sort": list(names), "title": None, "header": head}
    outer = {key: whole[key] for key in ("$schema", "data", "config")}
    return {**outer, "facet": facet, "columns": 3, "spec": inner}


def accuracy_fields(entry: CellSummary) -> dict[str, Any]:
    """Accuracy and interval in percent; a single user has no interval, so the bar has no length."""
    a = entry.accuracy
    return {} if a is None else rate_fields(a.accuracy, a.low, a.high)


def rate_fields(rate: float, low: float, high: float) -> dict[str, float]:
    """A rate and its interval in percent; a bar without length where the interval is NaN."""
    low, high = (rate, rate) if low != low else (low, high)
    return {"accuracy": round(100 * rate, 2), "low": round(100 * low, 2), "high": round(100 * high, 2)}
