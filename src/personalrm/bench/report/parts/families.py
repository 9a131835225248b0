"""Model families: the default judge against SynthesizeMe over several runs (Table 5)."""

from __future__ import annotations

from dataclasses import replace

from personalrm.bench.report.material import Content, Material, accuracy_value, paired_values, sizes, unscored
from personalrm.bench.report.tables import Column, Table, TableRow, Value

FULL = "persona_and_demonstrations"
FAMILY_NOTE = (
    "Accuracy in percent, mean of the runs; \N{PLUS-MINUS SIGN} is the paper's 95 % interval over the runs (Student's "
    "t), in brackets is ours over users. Stars: sign-flip test over users on the mean of the runs, Holm-corrected "
    "over the dataset's table (* 0.05, ** 0.01, *** 0.001)."
)


def families_content(material: Material) -> Content | None:
    """Table 5: the default judge against SynthesizeMe, a row a model, several runs."""
    if not any(method.name == FULL for method in material.methods):
        return None
    defaults = {
        (dataset.name, model): entry
        for dataset in material.datasets
        for model in material.models
        if model.family and (entry := material.main(dataset.name, "default", model.label))
    }
    if not defaults:
        return None
    datasets = dict.fromkeys(name for name, _ in defaults)
    columns = [
        Column(name, dataset)
        for dataset in datasets
        for name in ("default", "SynthesizeMe", "difference, points", "p (Holm)")
    ]
    entries = list(defaults.values())
    rows = []
    for model in dict.fromkeys(model for _, model in defaults):
        values: list[Value] = []
        for dataset in datasets:
            ours = material.main(dataset, FULL, model.label)
            entries += [ours] if ours and (dataset, model) in defaults else []
            for entry in (material.main(dataset, "default", model.label), ours):
                value = accuracy_value(entry)
                if entry and entry.runs and entry.runs.half_width == entry.runs.half_width:
                    value = replace(value, text=f"{value.text} \N{PLUS-MINUS SIGN} {100 * entry.runs.half_width:.1f}")
                values.append(value)
            row = material.summary.paired("reference", ours.cell) if ours else None
            values += paired_values(row if row is not None and row.other.method == "default" else None)
        rows.append(TableRow(material.label(model.label), values, model.family))
    caption = f"Model families: default judge against SynthesizeMe, {sizes(entries)}"
    table = Table("families", caption, "model", columns, rows, (FAMILY_NOTE, unscored(entries)))
    theirs: dict[str, list[Value]] = {}
    for printed in material.published["families"]:
        for name in ("default", "synthesizeme"):
            half = printed[f"{name}_half_width"]
            text = f"{printed[name]:.2f}" + (f" \N{PLUS-MINUS SIGN} {half:.2f}" if half else "")
            mark = printed["stars"] if name == "synthesizeme" else ""
            theirs.setdefault(printed["model"], []).append(Value(text, mark=mark))
    columns = [
        Column(name, f"published, {dataset}") for dataset in ("Arena", "PRISM") for name in ("default", "SynthesizeMe")
    ]
    rows = [TableRow(name, values) for name, values in theirs.items()]
    note = "The paper's Table 5, not measured here; \N{PLUS-MINUS SIGN} over five runs, stars as printed there."
    caption = "Published: model families (paper, Table 5)"
    published = Table("families-published", caption, "model", columns, rows, (note,))
    return Content(("One method, the same prompts for it, with models of different makers.",), (table, published))
