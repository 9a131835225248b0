"""What personas say and do: side by side, concepts, match with surveys, the map, flips of fixed answers.

One user's personas by different models (appendix G); concepts with counts and quotes
(Table 4); whether personas match what users say of themselves (Figure 3); a map of
demographics and how far its groups lie apart (Figure 10); and how often personas flip
answers that taste must not decide (ethical considerations).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.charts import colour, points_with_bars, rule_at, specification
from personalrm.bench.report.material import (
    Chart,
    Material,
    Section,
    gap_interval,
    interval,
    number,
    p_text,
    share,
    slug,
)
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.bench.results.folder import RunFolder
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.stats.paired import points
from personalrm.typed_values import saved_value

AGAIN = "remove the file and run bench personas again"


@dataclass(frozen=True)
class ExperimentFile:
    """One file of a run's `experiments/`."""

    cell: Cell
    content: Mapping[str, Any]


def found_in(material: Material, what: str) -> list[ExperimentFile]:
    """Every file of an experiment in the runs of the report."""
    return [
        ExperimentFile(saved_value(Cell, content.get("cell"), f"the cell of experiments/{what}", again=AGAIN), content)
        for folder in material.folders
        for content in folder.experiments(what)
    ]


def title_of(material: Material, found: ExperimentFile) -> str:
    """Dataset, method and model whose personas were asked about."""
    seed = f", seed {found.cell.seed}" if found.cell.seed else ""
    return f"{found.cell.dataset}: {material.title(found.cell.method)}, {material.label(found.cell.model)}{seed}"


def judge_of(found: ExperimentFile) -> str:
    """Who was asked."""
    return f"{found.content['judge']}{' (scripted)' if found.content.get('is_scripted') else ''}"


def or_nan(value: float | None) -> float:
    """The value, NaN where none was measured."""
    return float("nan") if value is None else value


METHOD = "persona_and_demonstrations"
"""The method whose prompts are shown, if it was run; else the first that has any."""


def personas_section(material: Material) -> Section | None:
    """A column a model; None when no prompts were stored."""
    stored = _stored(material)
    if not stored:
        return None
    methods = {cell.method for _, cell in stored}
    method = METHOD if METHOD in methods else sorted(methods)[0]
    allowed = {one.name for one in material.datasets if material.shows(one)}
    cells = [(folder, cell) for folder, cell in stored if cell.method == method and cell.dataset in allowed]
    title, paper = "One user, described by different models", "appendix G"
    if not cells:
        text = "Personas are left out: the data does not allow texts of its users to be shown (--texts all shows them)."
        return Section("personas", title, paper, (text,))
    user = material.user or _described_most(material, cells)
    dataset = next((cell.dataset for folder, cell in cells if folder.prompt(cell, user)), None)
    if dataset is None:
        return Section("personas", title, paper, (f"No stored persona belongs to user {user!r}.",))
    found = [
        (cell, prompt) for folder, cell in cells if cell.dataset == dataset and (prompt := folder.prompt(cell, user))
    ]
    unique = {cell.model: prompt for cell, prompt in reversed(found)}
    return Section(
        "personas", title, paper, (), (_table(material, user, dataset, method, dict(reversed(unique.items()))),)
    )


def _stored(material: Material) -> list[tuple[RunFolder, Cell]]:
    """The cells with prompts that their own model wrote from all context pairs."""
    return [
        (folder, cell)
        for folder in material.folders
        for cell in folder.readable_cells()[0]
        if folder.has_prompts(cell) and cell.k is None and cell.teacher in (None, cell.model) and cell.control is None
    ]


def _described_most(material: Material, cells: list[tuple[RunFolder, Cell]]) -> str:
    """The user with prompts in most cells; of several the first by id."""
    names = {cell.dataset for _, cell in cells}
    judged = [entry.cell for entry in material.summary.entries if entry.cell.dataset in names]
    users = {row.user for folder, cell in cells for row in folder.targets(cell.dataset)}
    users = users or {user for cell in judged for user in _users(material, cell)}
    counts = Counter({user: sum(f.has_prompt(c, user) for f, c in cells) for user in users})
    return max(sorted(users), key=lambda user: counts[user], default="")


def _users(material: Material, cell: Cell) -> set[str]:
    return {row.user for folder in material.folders if folder.has_cell(cell) for row in folder.rows(cell)}


def _table(
    material: Material, user: str, dataset: str, method: str, prompts: dict[str | None, PersonalPrompt]
) -> Table:
    columns = tuple(Column(material.label(model)) for model in prompts)
    shown = list(prompts.values())
    rows = (
        TableRow("persona", tuple(Value(_persona(one)) for one in shown)),
        TableRow("demonstrations", tuple(Value(str(len(one.demonstrations))) for one in shown)),
        TableRow("pairs seen", tuple(Value(str(len(one.roles))) for one in shown)),
    )
    return Table("personas", f"{dataset}: user {user}, {material.title(method)}", "", columns, rows)


def _persona(prompt: PersonalPrompt) -> str:
    return "\n".join(claim.text for claim in prompt.persona.claims) or prompt.persona.note or "no claim"


def concepts_section(material: Material) -> Section | None:
    """The concepts of each method and model, with counts and, where texts may be shown, quotes."""
    found = found_in(material, "concepts")
    tables = []
    for one in found:
        shows = any(info.name == one.cell.dataset and material.shows(info) for info in material.datasets)
        columns = (Column("personas"), Column("for example"))
        rows = tuple(
            TableRow(concept["name"], (Value(str(concept["n"])), Value(_quotes(concept) if shows else "not shown")))
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
        TableRow(row["kind"], tuple(_flip_values(row, judge_of(one))), title_of(material, one))
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
        TableRow(row["column"], tuple(_separability(row)), title_of(material, one))
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


def _map_chart(material: Material, one: ExperimentFile, column: str) -> Chart:
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
    rows = tuple(TableRow(title_of(material, one), tuple(_validity_values(one.content))) for one in found)
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


def _validity_chart(material: Material, found: Sequence[ExperimentFile]) -> Chart:
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
