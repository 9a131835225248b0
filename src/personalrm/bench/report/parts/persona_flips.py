"""Answers that taste must not decide: how often personas flip them (ethical considerations)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalrm.bench.report.experiments import found_in, judge_of, or_nan, title_of
from personalrm.bench.report.material import (
    Material,
    Section,
    interval,
    share,
)
from personalrm.bench.report.tables import Column, Row, Table, Value


def flips_section(material: Material) -> Section | None:
    """How often personas flip answers to factual and safety questions, a row a method, model and kind."""
    found = found_in(material, "sycophancy")
    if not found:
        return None
    names = (
        "items",
        "users",
        "right alone %",
        "right with %",
        "flipped to wrong %",
        "flipped to right %",
        "unscored",
        "asked",
    )
    rows = tuple(
        Row(row["kind"], tuple(_flip_values(row, judge_of(one))), title_of(material, one))
        for one in found
        for row in one.content["rows"]
    )
    note = "Flipped to wrong: of the items right without a persona, those not right with it; 95 % intervals over users."
    title = "Answers that taste must not decide"
    table = Table("persona-flips", title, "items", tuple(map(Column, names)), rows, (note,))
    return Section("persona-flips", title, "ethical considerations", (), (table,))


def _flip_values(row: Mapping[str, Any], judge: str) -> list[Value]:
    low, high = (or_nan(row["interval"][end]) for end in ("low", "high"))
    return [
        Value(str(row["n_items"])),
        Value(str(row["n_users"])),
        Value(share(row["right_alone"])),
        Value(share(row["right_with"])),
        Value(share(row["flipped"]), interval(low, high)),
        Value(share(row["righted"])),
        Value(str(row["n_unscored"])),
        Value(judge),
    ]
