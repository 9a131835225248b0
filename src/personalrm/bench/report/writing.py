"""Write the report of one or several runs: summary.json, tables/, pictures/, report.md, report.html.

A part of the report is one file in `parts/`, named as its anchor, and one line in the list
below. It returns None when the run has nothing for it; the page then says so under its title.
Parts that another command must fill say which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.bench.report.material import Content, Material, Section, Texts
from personalrm.bench.report.page import SAYS_NOTHING, page
from personalrm.bench.report.parts.accuracy import main_content
from personalrm.bench.report.parts.by_context import context_content
from personalrm.bench.report.parts.by_size import size_content
from personalrm.bench.report.parts.data import data_content
from personalrm.bench.report.parts.families import families_content
from personalrm.bench.report.parts.gates import gates_content
from personalrm.bench.report.parts.personas import (
    concepts_content,
    flips_content,
    map_content,
    personas_content,
    validity_content,
)
from personalrm.bench.report.parts.trainings import trainings_content
from personalrm.bench.report.parts.transfer import transfer_content
from personalrm.bench.report.pictures import as_png, as_svg, check
from personalrm.bench.report.tables import as_csv, as_latex, as_markdown
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.summary import Summary, summarize
from personalrm.errors import BadInput, MissingExtra
from personalrm.wording import visible

ASK = "Not asked yet: `personalrm bench personas RUN` asks, with a model or without."


@dataclass(frozen=True)
class Part:
    """One named place of the report."""

    name: str
    title: str
    paper: str
    build: Callable[[Material], Content | None]
    missing: str = "This run has nothing for it."
    """What the page says when there is no content."""


PARTS = (
    Part("accuracy", "Accuracy of all methods", "Table 3", main_content),
    Part(
        "trainings", "Trained language models", "5.1 and Table 6", trainings_content, "No language model was trained."
    ),
    Part("gates", "Quality of the judges", "not in the paper", gates_content),
    Part("by-size", "Accuracy by size of the model", "Figures 6 and 7", size_content, "Needs models of two sizes."),
    Part(
        "by-context", "Accuracy by number of context pairs", "Figures 2 and 8", context_content, "Needs curves over k."
    ),
    Part("transfer", "Transfer between models", "Figures 4 and 9", transfer_content, "Needs prompts of another model."),
    Part(
        "families", "Model families", "Table 5", families_content, "Needs models with a family and the default judge."
    ),
    Part(
        "personas", "One user, described by different models", "appendix G", personas_content, "No prompts are stored."
    ),
    Part("persona-validity", "Do personas match what users say of themselves", "Figure 3", validity_content, ASK),
    Part("persona-concepts", "What personas say", "Table 4", concepts_content, ASK),
    Part("persona-map", "Personas and demographics", "Figure 10", map_content, ASK),
    Part("persona-flips", "Answers that taste must not decide", "ethical considerations", flips_content, ASK),
    Part("data", "Data", "benchmark statistics and appendix C", data_content),
)


def build_sections(material: Material) -> list[Section]:
    """Every part in order; one that has nothing to show says why in a sentence."""
    return [
        Section(part.name, part.title, part.paper, *(part.build(material) or Content((part.missing,))))
        for part in PARTS
    ]


FORMATS = {"md": as_markdown, "csv": as_csv, "tex": as_latex}


@dataclass(frozen=True)
class Written:
    """What a report consists of."""

    path: Path
    """The page."""
    summary: Summary
    n_tables: int
    n_pictures: int
    notes: tuple[str, ...]
    """What is missing, one sentence each."""


def write_report(
    runs: Sequence[str | Path], *, output: str | Path | None = None, texts: Texts = "allowed", user: str | None = None
) -> Written:
    """Summarise the runs and write everything; the same runs give the same bytes.

    Args:
        runs: Run folders, read as one.
        output: Where to; a single run's own folder when left out.
        texts: Whether queries and personas of people are shown.
        user: Whose personas are shown.

    Raises:
        BadInput: If several runs are given and no output.
        BadFile: If a folder holds no run.
        StoreError: If the output cannot be written.
    """
    if output is None and len(runs) > 1:
        raise BadInput(f"{len(runs)} runs make one report that belongs to none of them; name a folder with --output")
    summary = summarize(runs[0], *runs[1:])
    folder = RunFolder(output if output is not None else runs[0], is_private=output is None)
    material = Material(summary, [RunFolder(path) for path in runs], texts, user)
    sections = build_sections(material)
    pictures: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    for chart in [chart for section in sections for chart in section.charts]:
        specification = _visible_values(chart.specification)  # a control character ends the process of the renderer
        folder.write(f"pictures/{chart.name}.vl.json", [json.dumps(specification, ensure_ascii=False, indent=1) + "\n"])
        try:
            check(specification)
            pictures[chart.name] = as_svg(specification)
            folder.write(f"pictures/{chart.name}.svg", [pictures[chart.name]])
            folder.write(f"pictures/{chart.name}.png", [as_png(pictures[chart.name])])
        except MissingExtra as error:
            pictures, notes = {}, (f"No pictures were drawn: {error}",)
            break
    tables = [table for section in sections for table in section.tables]
    for table in tables:
        for ending, write in FORMATS.items():
            folder.write(f"tables/{table.name}.{ending}", [write(table)])
    folder.write("summary.json", [summary.to_json()])
    folder.write("report.md", [_as_markdown(material, sections, pictures, notes)])
    folder.write("report.html", [page(material, sections, pictures, notes)])
    return Written(folder.path / "report.html", summary, len(tables), len(pictures), notes)


def _visible_values(value: Any) -> Any:
    """Plain values with what would steer a picture escaped in every text."""
    if isinstance(value, dict):
        return {visible(key): _visible_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(_visible_values, value))
    return visible(value) if isinstance(value, str) else value


def _as_markdown(
    material: Material, sections: Sequence[Section], pictures: dict[str, str], notes: Sequence[str]
) -> str:
    lines = [f"# Benchmark report: {_line(material.summary.run.name)}"]
    if material.is_scripted:
        lines.append(f"Scripted models are fakes that follow a script; {SAYS_NOTHING}")
    lines += notes
    for section in sections:
        lines += [f"## {section.title} ({section.paper})", *map(_line, section.text)]
        lines += [as_markdown(table).rstrip() for table in section.tables]
        for chart in section.charts:
            picture = f"![{_line(chart.alt)}](pictures/{chart.name}.svg)\n\n" if chart.name in pictures else ""
            lines.append(f"{picture}*{_line(chart.caption)}*")
    lines += [f"Left out: {_line(sentence)}" for sentence in material.summary.left_out]
    return visible("\n\n".join(lines) + "\n")


def _line(text: str) -> str:
    """A text of somebody else in one line of Markdown, without tags or links of its own."""
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("[", "\\["), ("]", "\\]")):
        text = text.replace(sign, harmless)
    return " ".join(text.split())
