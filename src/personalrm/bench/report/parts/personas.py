"""What personas say and do: side by side, concepts, match with surveys, the map, flips of fixed answers.

One user's personas by different models (appendix G); concepts with counts and quotes
(Table 4); whether personas match what users say of themselves (Figure 3); a map of
demographics and how far its groups lie apart (Figure 10); and how often personas flip
answers that taste must not decide (ethical considerations).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.charts import color, points_with_bars, rate_fields, rule_at, specification
from personalrm.bench.report.material import (
    SCRIPTED,
    Chart,
    Content,
    Material,
    gap_interval,
    interval,
    number,
    p_text,
    share,
    slug,
)
from personalrm.bench.report.tables import DASH, Column, Table, TableRow, Value
from personalrm.errors import CorruptFile
from personalrm.stats.paired import points
from personalrm.typed_values import saved_value

METHOD = "persona_and_demonstrations"
"""The method whose prompts are shown, if it was run; else the first that has any."""
MOST_COLORS = 8
AGAIN = "remove the file and run bench personas again"
Build = Callable[[Material], Content | None]
QUESTIONS = {"true": "own statement", "random": "another's statement", "choice": "own chosen from two"}


def personas_content(material: Material) -> Content | None:
    """A column a model; None when no prompts were stored."""
    # the cells with prompts that their own model wrote from all context pairs
    stored = [
        (folder, cell)
        for folder in material.folders
        for cell in folder.readable_cells()[0]
        if folder.has_prompts(cell) and cell.k is None and cell.teacher in (None, cell.model) and cell.control is None
    ]
    if not stored:
        return None
    methods = {cell.method for _, cell in stored}
    method = METHOD if METHOD in methods else sorted(methods)[0]
    allowed = {dataset.name for dataset in material.datasets if material.shows(dataset)}
    cells = [(folder, cell) for folder, cell in stored if cell.method == method and cell.dataset in allowed]
    if not cells:
        text = "Personas are left out: the data does not allow texts of its users to be shown (--texts all shows them)."
        return Content((text,))
    user = material.user
    if not user:  # the one with prompts in most cells; of several the first by id
        names = {cell.dataset for _, cell in cells}
        judged = [entry.cell for entry in material.summary.entries if entry.cell.dataset in names]
        users = {
            row.user
            for cell in judged
            for folder in material.folders
            if folder.has_cell(cell)
            for row in folder.rows(cell)
        }
        counts = {user: sum(folder.has_prompt(cell, user) for folder, cell in cells) for user in users}
        user = max(sorted(users), key=lambda user: counts[user], default="")
    dataset = next((cell.dataset for folder, cell in cells if folder.prompt(cell, user)), None)
    if dataset is None:
        return Content((f"No stored persona belongs to user {user!r}.",))
    described = [
        (cell, prompt) for folder, cell in cells if cell.dataset == dataset and (prompt := folder.prompt(cell, user))
    ]
    by_model = {cell.model: prompt for cell, prompt in reversed(described)}  # of several seeds the first
    models, prompts = list(reversed(by_model)), list(reversed(by_model.values()))
    personas = [
        "\n".join(claim.text for claim in prompt.persona.claims) or prompt.persona.note or "no claim"
        for prompt in prompts
    ]
    rows = (
        TableRow("persona", list(map(Value, personas))),
        TableRow("demonstrations", [Value(str(len(prompt.demonstrations))) for prompt in prompts]),
        TableRow("pairs seen", [Value(str(len(prompt.roles))) for prompt in prompts]),
    )
    columns = [Column(material.label(model)) for model in models]
    return Content((), (Table("personas", f"{dataset}: user {user}, {material.title(method)}", "", columns, rows),))


@dataclass(frozen=True)
class Experiment:
    """What `bench personas` left about one cell, a file of a run's `experiments/`."""

    cell: Cell
    title: str
    """Dataset, method and model whose personas were asked about."""
    content: Mapping[str, Any]

    @property
    def judge(self) -> str:
        """Who was asked."""
        return f"{self.content['judge']}{SCRIPTED if self.content.get('is_scripted') else ''}"


def _experiments(material: Material, what: str) -> list[Experiment]:
    """Every experiment of a kind in the runs of the report."""
    experiments = []
    for folder in material.folders:
        for content in folder.experiments(what):
            where = f"the cell of experiments/{what}"
            cell = saved_value(Cell, content.get("cell"), where, again=AGAIN)
            seed = f", seed {cell.seed}" if cell.seed else ""
            title = f"{cell.dataset}: {material.title(cell.method)}, {material.label(cell.model)}{seed}"
            experiments.append(Experiment(cell, title, content))
    return experiments


def _ends(interval: Mapping[str, float | None] | None) -> tuple[float, float]:
    """Both ends of a saved interval, NaN where none was measured."""
    low, high = ((interval or {}).get(end) for end in ("low", "high"))
    return math.nan if low is None else low, math.nan if high is None else high


def _from_files(what: str) -> Callable[[Build], Build]:
    """A part made of files that `bench personas` wrote: one that was changed since is named, and the rest reported."""

    def checked(build: Build) -> Build:
        def content(material: Material) -> Content | None:
            try:
                return build(material)
            except CorruptFile as error:
                return Content((f"{error}.",), is_damaged=True)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
                places = [folder.path / "experiments" for folder in material.folders]
                names = ", ".join(sorted(path.name for place in places for path in place.glob(f"{what}.*")))
                sentence = f"One of {names} is not what bench personas wrote ({type(error).__name__}); {AGAIN}."
                return Content((sentence,), is_damaged=True)

        return content

    return checked


@_from_files("concepts")
def concepts_content(material: Material) -> Content | None:
    """The concepts of each method and model, with counts and, where texts may be shown, quotes."""
    tables = []
    for experiment in _experiments(material, "concepts"):
        content, name = experiment.content, experiment.cell.dataset
        shows = any(dataset.name == name and material.shows(dataset) for dataset in material.datasets)
        rows = [
            TableRow(
                concept["name"],
                (
                    Value(str(concept["n"])),
                    Value("\n".join(map(str, concept["quotes"])) if shows else "not shown"),
                ),
            )
            for concept in content["concepts"]
        ]
        columns = (Column("personas"), Column("for example"))
        note = f"Of {content['n_personas']} personas, {content['n_empty']} more say nothing; by {experiment.judge}."
        table = f"concepts-{slug(experiment.cell.name)}"
        tables.append(Table(table, experiment.title, "concept", columns, rows, (note,)))
    text = (
        "Concepts after LLooM: phrases are distilled, clustered, named, and every persona is scored by every concept."
    )
    return Content((text,), tables) if tables else None


@_from_files("sycophancy")
def flips_content(material: Material) -> Content | None:
    """How often personas flip answers to factual and safety questions, a row a method, model and kind."""
    names = ("items", "users", "right alone %", "right with %", "flipped to wrong %", "flipped to right %", "unscored",
             "asked")  # fmt: skip
    rows = []
    for experiment in _experiments(material, "sycophancy"):
        for row in experiment.content["rows"]:
            values = (
                Value(str(row["n_items"])),
                Value(str(row["n_users"])),
                Value(share(row["right_alone"])),
                Value(share(row["right_with"])),
                Value(share(row["flipped"]), interval(*_ends(row["interval"]))),
                Value(share(row["righted"])),
                Value(str(row["n_unscored"])),
                Value(experiment.judge),
            )
            rows.append(TableRow(row["kind"], values, experiment.title))
    note = "Flipped to wrong: of the items right without a persona, those not right with it; 95 % intervals over users."
    caption = "Answers that taste must not decide"
    table = Table("persona-flips", caption, "items", list(map(Column, names)), rows, (note,))
    return Content((), (table,)) if rows else None


@_from_files("map")
def map_content(material: Material) -> Content | None:
    """A picture a column, and how far its groups lie apart."""
    experiments = _experiments(material, "map")
    if not experiments:
        return None
    names = ("users", "groups", "silhouette", "p", "classifier %", "chance %", "classifier p")
    rows, charts = [], []
    for experiment in experiments:
        for row in experiment.content["separability"]:
            texts = (
                str(row["n_users"]),
                str(row["n_groups"]),
                number(row["silhouette"]),
                p_text(row["silhouette_p"]),
                share(row["accuracy"]),
                share(row["chance"]),
                p_text(row["accuracy_p"]),
            )
            rows.append(TableRow(row["column"], list(map(Value, texts)), experiment.title))
        charts += [_map_chart(experiment, column) for column in experiment.content["labels"] or {"": ()}]
    note = (
        "p-values against labels dealt out at random; the classifier names people it has not seen, groups weigh alike."
    )
    caption = "How far groups of people lie apart in their personas"
    table = Table("persona-map", caption, "column", list(map(Column, names)), rows, (note,))
    kinds = dict.fromkeys(str(experiment.content["kind"]) for experiment in experiments)
    text = f"Vectors: {'; '.join(kinds)}. t-SNE keeps neighbours, not distances: read the table, not the picture."
    return Content((text,), (table,) if rows else (), charts)


def _map_chart(experiment: Experiment, column: str) -> Chart:
    content, name = experiment.content, column or "persona"
    labels = content["labels"].get(column) or ["persona"] * len(content["points"])
    names = sorted(set(labels), key=lambda label: (-labels.count(label), label))
    shown = set(names[:MOST_COLORS])
    rows = [
        {"x": x, "y": y, name: label if label in shown else "other groups"}
        for (x, y), label in zip(content["points"], labels, strict=True)
    ]
    legend = [*names[:MOST_COLORS], *(["other groups"] if len(names) > MOST_COLORS else [])]
    axis = {"type": "quantitative", "title": None, "axis": {"labels": False, "ticks": False}, "scale": {"zero": False}}
    encoding = {
        "x": {"field": "x", **axis},
        "y": {"field": "y", **axis},
        "color": color(name, legend),
        "shape": {"field": name, "type": "nominal", "legend": None, "sort": legend},
    }
    layer = {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85}, "encoding": encoding}
    return Chart(
        f"persona-map-{slug(f'{experiment.cell.name}-{name}')}",
        f"{experiment.title}: personas by t-SNE, coloured by {name}.",
        f"Points of the plane, one a persona, coloured by {name}; how far groups lie apart stands in the table.",
        specification(rows, [layer], height=380),
    )


@_from_files("validity")
def validity_content(material: Material) -> Content | None:
    """Match rates of own and random pairings, a row a method and model."""
    experiments = _experiments(material, "validity")
    if not experiments:
        return None
    names = (*QUESTIONS.values(), "own minus another's", "p", "users", "scored", "unscored", "asked")
    rows, bars = [], []
    for experiment in experiments:
        content = experiment.content
        rates = [content[name] for name in QUESTIONS]
        values = []
        for rate, question in zip(rates, QUESTIONS.values(), strict=True):
            if rate is None:
                values.append(Value("not scored"))
            else:
                low, high = _ends(rate["interval"])
                values.append(Value(share(rate["share"]), interval(low, high)))
                fields = rate_fields(rate["share"], low, high)
                bars.append({"personas": experiment.title, "question": question, **fields})
        gap, ends = content["gap"], _ends(content["gap_interval"])
        values.append(Value(DASH) if gap is None else Value(points(gap), gap_interval(*ends)))
        texts = (
            DASH if content["p"] is None else p_text(content["p"]),
            str(content["n_users"]),
            " + ".join(str(rate["n"]) if rate else "0" for rate in rates),
            str(sum(rate["n_unscored"] for rate in rates if rate)),
            experiment.judge,
        )
        rows.append(TableRow(experiment.title, [*values, *map(Value, texts)]))
    notes = (
        (
            "Percent of answers with 95 % intervals over users; both orders of the texts, averaged. Unscored answers "
            "are in no share. Choosing the own statement from two has 50 % by a coin; p is a user-level sign-flip test."
        ),
        "Published (paper 6.2): own 26.5, 50.2 and 56.1 % for 3B, 8B and 70B, random 46 to 47 %.",
    )
    caption = "Do personas match what users say of themselves"
    table = Table("persona-validity", caption, "personas", list(map(Column, names)), rows, notes)
    x = {"field": "accuracy", "type": "quantitative", "title": "answers, %", "scale": {"domain": [0, 100]}}
    y = {"field": "personas", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 320, "grid": True}}
    questions = list(QUESTIONS.values())
    offset = {"field": "question", "type": "nominal", "sort": questions}
    layers = points_with_bars(x=x, y=y, color=color("question", questions), extra={"yOffset": offset})
    wide_bars = {**layers[1], "mark": {"type": "bar", "opacity": 0.3}}
    chart = Chart(
        "persona-validity",
        "Personas against stated preferences, 95 % intervals over users; the dashed line is a coin.",
        "Matches with the own and with another's statement, and own statements chosen; numbers in the table.",
        specification(bars, [wide_bars, *layers, rule_at(50.0, "x")], height={"step": 20}),
    )
    return Content((), (table,), (chart,))
