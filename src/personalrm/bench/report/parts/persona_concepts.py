"""What personas say: concepts with counts and quotes, a table a method and model (Table 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalrm.bench.report.experiments import found_in, judge_of, title_of
from personalrm.bench.report.material import (
    Material,
    Section,
    slug,
)
from personalrm.bench.report.tables import Column, Row, Table, Value


def concepts_section(material: Material) -> Section | None:
    """The concepts of each method and model, with counts and, where texts may be shown, quotes."""
    found = found_in(material, "concepts")
    tables = []
    for one in found:
        shows = any(info.name == one.cell.dataset and material.shows(info) for info in material.datasets)
        columns = (Column("personas"), Column("for example"))
        rows = tuple(
            Row(concept["name"], (Value(str(concept["n"])), Value(_quotes(concept) if shows else "not shown")))
            for concept in one.content["concepts"]
        )
        content = one.content
        note = f"Of {content['n_personas']} personas, {content['n_empty']} more say nothing; by {judge_of(one)}."
        tables.append(
            Table(f"concepts-{slug(one.cell.name)}", title_of(material, one), "concept", columns, rows, (note,))
        )
    text = (
        "Concepts after LLooM: phrases are distilled, clustered, named, and every persona is scored by every concept.",
    )
    return Section("persona-concepts", "What personas say", "Table 4", text, tuple(tables)) if tables else None


def _quotes(concept: Mapping[str, Any]) -> str:
    return "\n".join(str(quote) for quote in concept["quotes"])
