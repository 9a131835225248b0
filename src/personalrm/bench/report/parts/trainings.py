"""What the fine-tuned language models of a run learned from, and who stopped them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.material import Material, Section
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value

POOLS = {
    "train_users": "train users",
    "plus_context": "train users, context pairs of dev and test users",
    "unfiltered": "everything but targets",
}


def trainings_section(material: Material) -> Section | None:
    """One table: a row a method, base model, dataset and seed; several trainings of one row are ranges."""
    rows = []
    place = {one.name: number for number, one in enumerate(material.methods)}
    for entry in sorted(material.summary.entries, key=lambda one: (one.cell.dataset, place[one.cell.method])):
        if (entry.cell.control, entry.cell.k, entry.cell.teacher) != (None, None, None):
            continue
        for seed in entry.seeds:
            cell = replace(entry.cell, seed=seed)
            records = [record for folder in material.folders for record in folder.trainings(cell)]
            if records:
                rows.append(
                    TableRow(material.title(cell.method), tuple(_values(material, cell, records)), cell.dataset)
                )
    if not rows:
        return None
    columns = ("base model", "seed", "trainings", "learned from", "pairs", "users", "unfiltered", "left out",
               "dev targets", "step kept", "truncated", "personas")  # fmt: skip
    words = (
        "Trainings: one where the data has train, dev and test users, else one for each fold of users, who are scored "
        "by a model that has not seen them. Left out: pairs that are a target too, and unfiltered pairs of a "
        "conversation that holds one. Dev targets choose the step; without any the last is kept. Personas: who wrote "
        "them, of how many users there was something to tell, whether a pair's was written without it; if not, the "
        "label is in the prompt while training, as in the paper. What differs between trainings: least and most."
    )
    table = Table("trainings", "Language models that were trained", "method", tuple(map(Column, columns)), tuple(rows))
    return Section("trainings", "Trained language models", "5.1 and Table 6", (words,), (table,))


def _values(material: Material, cell: Cell, records: Sequence[dict[str, Any]]) -> list[Value]:
    said = [dict(record.get("training") or {}) for record in records]
    final = ", and dev targets" if records[0].get("pool_final") == "paper" else ""
    pool = str(records[0].get("pool"))
    is_split = len(records) == 1 and records[0].get("is_cross_fitted") is False
    learned = POOLS.get(pool, pool) + final if is_split else "users of other folds"
    steps = [f"{one['best_step']:,} of {one['n_steps']:,}" for one in said if {"best_step", "n_steps"} <= set(one)]
    return [
        Value(material.label(cell.model)),
        Value(str(cell.seed)),
        Value(str(len(records))),
        Value(learned),
        _range(records, "n_pairs"),
        _range(records, "n_users"),
        _range(records, "n_unfiltered"),
        Value(_span([int(one.get("n_left_out", 0)) + int(one.get("n_equal", 0)) for one in records])),
        _range(records, "n_dev_targets"),
        Value(", ".join(dict.fromkeys(steps)) or DASH),
        Value(_span([int(one["n_truncated"]) for one in said if "n_truncated" in one]) or DASH),
        Value(_personas(records)),
    ]


def _personas(records: Sequence[dict[str, Any]]) -> str:
    told = [record["prompts"] for record in records if record.get("prompts")]
    if not told:
        return DASH
    n_told, n_apart = (sum(int(one[name]) for one in told) for name in ("n_pairs_told", "n_pairs_cross_fitted"))
    how = "cross-fitted" if n_apart == n_told else f"{n_apart:,} of {n_told:,} pairs cross-fitted" if n_apart else (
        "written with the pair itself"
    )  # fmt: skip
    n_users = [int((record.get("training") or {}).get("n_users_told_of", 0)) for record in records]
    return f"{told[0]['source']}, of {_span(n_users)} users, {how}"


def _range(records: Sequence[dict[str, Any]], name: str) -> Value:
    return Value(_span([int(one[name]) for one in records if name in one]) or DASH)


def _span(numbers: Sequence[int]) -> str:
    """One number, or the least and the most of several; empty for none."""
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
