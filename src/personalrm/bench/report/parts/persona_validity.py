"""Do personas match what users say of themselves: match rates, a table and a picture (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personalrm.bench.report.charts import colour, points_with_bars, rule_at, specification
from personalrm.bench.report.experiments import Found, found_in, or_nan, title_of
from personalrm.bench.report.material import (
    Chart,
    Material,
    Section,
    gap_interval,
    interval,
    p_text,
    share,
)
from personalrm.bench.report.tables import DASH, Column, Row, Table, Value
from personalrm.stats.paired import points

QUESTIONS = {"true": "own statement", "random": "another's statement", "choice": "own chosen from two"}


def validity_section(material: Material) -> Section | None:
    """Match rates of own and random pairings, a row a method and model."""
    found = found_in(material, "validity")
    if not found:
        return None
    columns = tuple(
        Column(name)
        for name in (*QUESTIONS.values(), "own minus another's", "p", "users", "scored", "unscored", "asked")
    )
    rows = tuple(Row(title_of(material, one), tuple(_validity_values(one.content))) for one in found)
    notes = (
        (
            "Percent of answers with 95 % intervals over users; both orders of the texts, averaged. Unscored answers "
            "are in no share. Choosing the own statement from two has 50 % by a coin; p is a user-level sign-flip test."
        ),
        "Published (paper 6.2): own 26.5, 50.2 and 56.1 % for 3B, 8B and 70B, random 46 to 47 %.",
    )
    table = Table(
        "persona-validity", "Do personas match what users say of themselves", "personas", columns, rows, notes
    )
    return Section("persona-validity", table.caption, "Figure 3", (), (table,), (_validity_chart(material, found),))


def _validity_values(content: Mapping[str, Any]) -> list[Value]:
    rates = [content[name] for name in QUESTIONS]
    gap, ends = content["gap"], content["gap_interval"] or {"low": None, "high": None}
    told = Value(DASH) if gap is None else Value(points(gap), gap_interval(or_nan(ends["low"]), or_nan(ends["high"])))
    unscored = sum(rate["n_unscored"] for rate in rates if rate)
    scored = " + ".join(str(rate["n"]) if rate else "0" for rate in rates)
    scripted = " (scripted)" if content.get("is_scripted") else ""
    return [
        *map(_rate, rates),
        told,
        Value(DASH if content["p"] is None else p_text(content["p"])),
        Value(str(content["n_users"])),
        Value(scored),
        Value(str(unscored)),
        Value(f"{content['judge']}{scripted}"),
    ]


def _rate(rate: Mapping[str, Any] | None) -> Value:
    if rate is None:
        return Value("not scored")
    return Value(share(rate["share"]), interval(or_nan(rate["interval"]["low"]), or_nan(rate["interval"]["high"])))


def _validity_chart(material: Material, found: Sequence[Found]) -> Chart:
    rows = [
        {"personas": title_of(material, one), "question": words, **_bar(rate)}
        for one in found
        for name, words in QUESTIONS.items()
        if (rate := one.content[name]) is not None
    ]
    x = {"field": "accuracy", "type": "quantitative", "title": "answers, %", "scale": {"domain": [0, 100]}}
    y = {"field": "personas", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 320, "grid": True}}
    offset = {"field": "question", "type": "nominal", "sort": list(QUESTIONS.values())}
    layers = points_with_bars(x=x, y=y, colour=colour("question", list(QUESTIONS.values())), extra={"yOffset": offset})
    bars = {**layers[1], "mark": {"type": "bar", "opacity": 0.3}}
    return Chart(
        "persona-validity",
        "Personas against stated preferences, 95 % intervals over users; the dashed line is a coin.",
        "Matches with the own and with another's statement, and own statements chosen; numbers in the table.",
        specification(rows, [bars, *layers, rule_at(50.0, "x")], height={"step": 20}),
    )


def _bar(rate: Mapping[str, Any]) -> dict[str, float]:
    low, high = rate["interval"]["low"], rate["interval"]["high"]
    value = 100 * rate["share"]
    return {
        "accuracy": round(value, 2),
        "low": round(value if low is None else 100 * low, 2),
        "high": round(value if high is None else 100 * high, 2),
    }
