"""What the fine-tuned language models of a run learned from, and who stopped them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from personalrm.bench.report.material import Content, Material
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value

POOLS = {
    "train_users": "train users",
    "plus_context": "train users, context pairs of dev and test users",
    "unfiltered": "everything but targets",
}


def trainings_content(material: Material) -> Content | None:
    """One table: a row a method, base model, dataset and seed; several trainings of one row are ranges."""
    rows = []
    place = {method.name: number for number, method in enumerate(material.methods)}
    for entry in sorted(material.summary.entries, key=lambda entry: (entry.cell.dataset, place[entry.cell.method])):
        if (entry.cell.control, entry.cell.k, entry.cell.teacher) != (None, None, None):
            continue
        for seed in entry.seeds:
            cell = replace(entry.cell, seed=seed)
            records = [record for folder in material.folders for record in folder.trainings(cell)]
            if not records:
                continue
            trainings = [dict(record.get("training") or {}) for record in records]
            learned_from = "users of other folds"
            if len(records) == 1 and records[0].get("is_cross_fitted") is False:
                pool = str(records[0].get("pool"))
                final = ", and dev targets" if records[0].get("pool_final") == "paper" else ""
                learned_from = POOLS.get(pool, pool) + final
            steps = [
                f"{training['best_step']:,} of {training['n_steps']:,}"
                for training in trainings
                if {"best_step", "n_steps"} <= set(training)
            ]
            personas = DASH
            if prompts := [record["prompts"] for record in records if record.get("prompts")]:
                n_told, n_apart = (
                    sum(int(p[name]) for p in prompts) for name in ("n_pairs_told", "n_pairs_cross_fitted")
                )
                how = f"{n_apart:,} of {n_told:,} pairs cross-fitted" if n_apart else "written with the pair itself"
                n_users = [int(training.get("n_users_told_of", 0)) for training in trainings]
                how = "cross-fitted" if n_apart == n_told else how
                personas = f"{prompts[0]['source']}, of {_span(n_users)} users, {how}"
            texts = [
                material.label(cell.model),
                str(cell.seed),
                str(len(records)),
                learned_from,
                *(_range(records, name) for name in ("n_pairs", "n_users", "n_unfiltered")),
                _span([int(record.get("n_left_out", 0)) + int(record.get("n_equal", 0)) for record in records]),
                _range(records, "n_dev_targets"),
                ", ".join(dict.fromkeys(steps)) or DASH,
                _range(trainings, "n_truncated"),
                personas,
            ]
            rows.append(TableRow(material.title(cell.method), list(map(Value, texts)), cell.dataset))
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
    table = Table("trainings", "Language models that were trained", "method", list(map(Column, columns)), rows)
    return Content((words,), (table,))


def _range(records: Sequence[dict[str, Any]], name: str) -> str:
    return _span([int(record[name]) for record in records if name in record]) or DASH


def _span(numbers: Sequence[int]) -> str:
    """One number, or the least and the most of several; empty for none."""
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
