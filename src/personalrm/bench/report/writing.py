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

from personalrm.bench.report.material import Chart, Material, Section, Texts
from personalrm.bench.report.page import SAYS_NOTHING, page
from personalrm.bench.report.parts.accuracy import main_section
from personalrm.bench.report.parts.by_context import context_section
from personalrm.bench.report.parts.by_size import size_section
from personalrm.bench.report.parts.data import data_section
from personalrm.bench.report.parts.families import families_section
from personalrm.bench.report.parts.gates import gates_section
from personalrm.bench.report.parts.personas import (
    concepts_section,
    flips_section,
    map_section,
    personas_section,
    validity_section,
)
from personalrm.bench.report.parts.trainings import trainings_section
from personalrm.bench.report.parts.transfer import transfer_section
from personalrm.bench.report.pictures import as_png, as_svg, check
from personalrm.bench.report.tables import as_csv, as_latex, as_markdown
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.summary import Summary, summarise
from personalrm.errors import BadInput, MissingExtra


@dataclass(frozen=True)
class Part:
    """One named place of the report."""

    name: str
    title: str
    paper: str
    build: Callable[[Material], Section | None] | None = None
    missing: str = "This run has nothing for it."
    """What the page says when there is no section."""


ASKED = "Not asked yet: `personalrm bench personas RUN` asks, with a model or without."
TABLE_5 = "Needs models with a family and the default judge."
PARTS = (
    Part("accuracy", "Accuracy of all methods", "Table 3", main_section),
    Part(
        "trainings", "Trained language models", "5.1 and Table 6", trainings_section, "No language model was trained."
    ),
    Part("gates", "Quality of the judges", "not in the paper", gates_section),
    Part("by-size", "Accuracy by size of the model", "Figures 6 and 7", size_section, "Needs models of two sizes."),
    Part(
        "by-context", "Accuracy by number of context pairs", "Figures 2 and 8", context_section, "Needs curves over k."
    ),
    Part("transfer", "Transfer between models", "Figures 4 and 9", transfer_section, "Needs prompts of another model."),
    Part("families", "Model families", "Table 5", families_section, TABLE_5),
    Part(
        "personas", "One user, described by different models", "appendix G", personas_section, "No prompts are stored."
    ),
    Part("persona-validity", "Do personas match what users say of themselves", "Figure 3", validity_section, ASKED),
    Part("persona-concepts", "What personas say", "Table 4", concepts_section, ASKED),
    Part("persona-map", "Personas and demographics", "Figure 10", map_section, ASKED),
    Part("persona-flips", "Answers that taste must not decide", "ethical considerations", flips_section, ASKED),
    Part("data", "Data", "benchmark statistics and appendix C", data_section),
)


def build_sections(material: Material) -> list[Section]:
    """Every part in order; one that has nothing to show says why in a sentence."""
    sections = []
    for part in PARTS:
        section = part.build(material) if part.build else None
        sections.append(section or Section(part.name, part.title, part.paper, (part.missing,)))
    return sections


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
    summary = summarise(runs[0], *runs[1:])
    folder = RunFolder(output if output is not None else runs[0])
    material = Material(summary, [RunFolder(path) for path in runs], texts, user)
    sections = build_sections(material)
    pictures, notes = _draw(folder, [chart for section in sections for chart in section.charts])
    tables = [table for section in sections for table in section.tables]
    for table in tables:
        for ending, write in FORMATS.items():
            folder.write(f"tables/{table.name}.{ending}", [write(table)])
    folder.write("summary.json", [summary.to_json()])
    folder.write("report.md", [_as_markdown(material, sections, pictures, notes)])
    folder.write("report.html", [page(material, sections, pictures, notes)])
    return Written(folder.path / "report.html", summary, len(tables), len(pictures), tuple(notes))


def _draw(folder: RunFolder, charts: Sequence[Chart]) -> tuple[dict[str, str], list[str]]:
    """Name -> SVG of every picture, saved as SVG, PNG and specification; and what is missing."""
    drawn: dict[str, str] = {}
    for chart in charts:
        text = json.dumps(chart.specification, ensure_ascii=False, indent=1)
        folder.write(f"pictures/{chart.name}.vl.json", [text + "\n"])
        try:
            check(chart.specification)
            drawn[chart.name] = as_svg(chart.specification)
            folder.write(f"pictures/{chart.name}.svg", [drawn[chart.name]])
            folder.write(f"pictures/{chart.name}.png", [as_png(drawn[chart.name])])
        except MissingExtra as error:
            return {}, [f"No pictures were drawn: {error}"]
    return drawn, []


def _as_markdown(
    material: Material, sections: Sequence[Section], pictures: dict[str, str], notes: Sequence[str]
) -> str:
    scripted = [f"Scripted models are fakes that follow a script; {SAYS_NOTHING}"]
    lines = [
        f"# Benchmark report: {_line(material.summary.run.name)}",
        *(scripted if material.is_scripted else []),
        *notes,
    ]
    for section in sections:
        lines += [f"## {section.title} ({section.paper})", *map(_line, section.text)]
        lines += [as_markdown(table).rstrip() for table in section.tables]
        for chart in section.charts:
            picture = f"![{_line(chart.alt)}](pictures/{chart.name}.svg)\n\n" if chart.name in pictures else ""
            lines.append(f"{picture}*{_line(chart.caption)}*")
    lines += [f"Left out: {_line(sentence)}" for sentence in material.summary.left_out]
    return "\n\n".join(lines) + "\n"


def _line(text: str) -> str:
    """A text of somebody else in one line of Markdown, without tags or links of its own."""
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("[", "\\["), ("]", "\\]")):
        text = text.replace(sign, harmless)
    return " ".join(text.split())
