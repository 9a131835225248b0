"""Model families: the default judge against SynthesizeMe over several runs (Table 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from personalrm.bench.report.material import Material, Section, accuracy_value, gap_interval, p_text, sizes, unscored
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.records import ModelInfo
from personalrm.bench.results.summary import EntrySummary
from personalrm.stats.paired import points
from personalrm.stats.runs import stars

FAMILY_NOTE = (
    "Accuracy in percent, mean of the runs; \N{PLUS-MINUS SIGN} is the paper's 95 % interval over the runs (Student's "
    "t), in brackets is ours over users. Stars: sign-flip test over users on the mean of the runs, Holm-corrected "
    "over the dataset's table (* 0.05, ** 0.01, *** 0.001)."
)


def families_section(material: Material) -> Section | None:
    """Table 5: the default judge against SynthesizeMe, a row a model, several runs."""
    full = next((m.name for m in material.methods if m.name == "persona_and_demonstrations"), None)
    if full is None:
        return None
    defaults = {
        (dataset.name, model): entry
        for dataset in material.datasets
        for model in material.models
        if model.family and (entry := material.main(dataset.name, "default", model.label))
    }
    if not defaults:
        return None
    words = ("One method, the same prompts for it, with models of different makers.",)
    tables = (_families(material, full, defaults), _published_families(material))
    return Section("families", "Model families", "Table 5", words, tables)


def _families(material: Material, full: str, defaults: Mapping[tuple[str, ModelInfo], EntrySummary]) -> Table:
    datasets = list(dict.fromkeys(name for name, _ in defaults))
    models = list(dict.fromkeys(model for _, model in defaults))
    columns = tuple(
        Column(name, dataset)
        for dataset in datasets
        for name in ("default", "SynthesizeMe", "difference, points", "p (Holm)")
    )
    rows = tuple(
        TableRow(
            material.label(one.label),
            tuple(v for name in datasets for v in _family_values(material, name, one.label, full)),
            one.family,
        )
        for one in models
    )
    ours = [e for name, one in defaults if (e := material.main(name, full, one.label))]
    caption = f"Model families: default judge against SynthesizeMe, {sizes([*defaults.values(), *ours])}"
    notes = (FAMILY_NOTE, unscored([*defaults.values(), *ours]))
    return Table("families", caption, "model", columns, rows, notes)


def _family_values(material: Material, dataset: str, model: str, full: str) -> Iterator[Value]:
    ours = material.main(dataset, full, model)
    for entry in (material.main(dataset, "default", model), ours):
        value = accuracy_value(entry)
        if entry and entry.runs and entry.runs.half_width == entry.runs.half_width:
            value = replace(value, text=f"{value.text} \N{PLUS-MINUS SIGN} {100 * entry.runs.half_width:.1f}")
        yield value
    row = material.summary.paired("reference", ours.cell) if ours else None
    if row is None or row.other.method != "default":
        yield from (Value(DASH), Value(DASH))
    else:
        c = row.comparison
        yield Value(points(c.difference), gap_interval(c.low, c.high), stars(row.p_holm))
        yield Value(p_text(row.p_holm))


def _published_families(material: Material) -> Table:
    rows: dict[str, list[Value]] = {}
    for one in material.published["families"]:
        for name in ("default", "synthesizeme"):
            half = one[f"{name}_half_width"]
            text = f"{one[name]:.2f}" + (f" \N{PLUS-MINUS SIGN} {half:.2f}" if half else "")
            rows.setdefault(one["model"], []).append(Value(text, mark=one["stars"] if name == "synthesizeme" else ""))
    columns = tuple(
        Column(name, f"published, {dataset}") for dataset in ("Arena", "PRISM") for name in ("default", "SynthesizeMe")
    )
    notes = ("The paper's Table 5, not measured here; \N{PLUS-MINUS SIGN} over five runs, stars as printed there.",)
    return Table(
        "families-published",
        "Published: model families (paper, Table 5)",
        "model",
        columns,
        tuple(TableRow(m, tuple(v)) for m, v in rows.items()),
        notes,
    )
