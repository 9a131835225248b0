"""Write the report of one or several runs: summary.json, tables/, pictures/, report.md, report.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personalrm.bench.report.material import Chart, Material, Section, Texts
from personalrm.bench.report.page import SAYS_NOTHING, page
from personalrm.bench.report.pictures import as_png, as_svg, check
from personalrm.bench.report.sections import build_sections
from personalrm.bench.report.tables import as_csv, as_latex, as_markdown
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.summary import Summary, summarise
from personalrm.errors import BadInput, MissingExtra

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
