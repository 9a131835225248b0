"""Write the report of one or several runs: summary.json, tables/, pictures/, report.md, report.html.

A part of the report is one file in `parts/`, named as its anchor, and one line in the list
below. It returns None when the run has nothing for it; the page then says so under its title.
Parts that another command must fill say which.

The HTML page has no script and no outside asset, and everything in it is escaped. Its content security policy allows
the page's own style by its hash and nothing else, so a text that slipped through unescaped could still not run or
load anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from personalrm.bench.report.charts import GRID, INK
from personalrm.bench.report.material import Chart, Content, Material, Texts
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
from personalrm.bench.report.tables import as_csv, as_html, as_latex, as_markdown
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.summary import Summary, summarize
from personalrm.errors import BadInput, MissingExtra
from personalrm.wording import visible

ENGINE = "embedded engine"
"""The kind of a model that has no parameters to count."""
SAYS_NOTHING = "nothing here says anything about a language model."
ASK = "Not asked yet: `personalrm bench personas RUN` asks, with a model or without."


@dataclass(frozen=True)
class Part:
    """One named place of the report."""

    name: str
    """Anchor in the page."""
    title: str
    paper: str
    """What of the paper it answers to, such as `Table 3`."""
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


Sections = Sequence[tuple[Part, Content]]


def build_sections(material: Material) -> Sections:
    """Every part in order; one that has nothing to show says why in a sentence."""
    return [(part, part.build(material) or Content((part.missing,))) for part in PARTS]


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
    damages: tuple[str, ...] = ()
    """What was found and could not be read, one sentence each; the page says so too."""


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
    for chart in [chart for _, content in sections for chart in content.charts]:
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
    tables = [table for _, content in sections for table in content.tables]
    for table in tables:
        for ending, write in FORMATS.items():
            folder.write(f"tables/{table.name}.{ending}", [write(table)])
    folder.write("summary.json", [summary.to_json()])
    folder.write("report.md", [_as_markdown(material, sections, pictures, notes)])
    folder.write("report.html", [page(material, sections, pictures, notes)])
    damages = tuple(sentence for _, content in sections if content.is_damaged for sentence in content.text)
    return Written(folder.path / "report.html", summary, len(tables), len(pictures), notes, damages)


def _visible_values(value: Any) -> Any:
    """Plain values with what would steer a picture escaped in every text."""
    if isinstance(value, dict):
        return {visible(key): _visible_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(_visible_values, value))
    return visible(value) if isinstance(value, str) else value


def _as_markdown(material: Material, sections: Sections, pictures: dict[str, str], notes: Sequence[str]) -> str:
    lines = [f"# Benchmark report: {_line(material.summary.run.name)}"]
    if material.is_scripted:
        lines.append(f"Scripted models are fakes that follow a script; {SAYS_NOTHING}")
    lines += notes
    for part, content in sections:
        lines += [f"## {part.title} ({part.paper})", *map(_line, content.text)]
        lines += [as_markdown(table).rstrip() for table in content.tables]
        for chart in content.charts:
            picture = f"![{_line(chart.alt)}](pictures/{chart.name}.svg)\n\n" if chart.name in pictures else ""
            lines.append(f"{picture}*{_line(chart.caption)}*")
    lines += [f"Left out: {_line(sentence)}" for sentence in material.summary.left_out]
    return visible("\n\n".join(lines) + "\n")


def _line(text: str) -> str:
    """A text of somebody else in one line of Markdown, without tags or links of its own."""
    for sign, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("[", "\\["), ("]", "\\]")):
        text = text.replace(sign, harmless)
    return " ".join(text.split())


def page(material: Material, sections: Sections, pictures: Mapping[str, str], notes: Sequence[str]) -> str:
    """The whole page.

    Args:
        material: Names, versions, and whether models are scripted.
        sections: What to show.
        pictures: Name of a chart -> its SVG; charts without one show their specification only.
        notes: Sentences under the title, such as what is missing.
    """
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = f"Benchmark report: {material.summary.run.name}"
    links = "".join(f'<li><a href="#{part.name}">{escape(part.title)}</a></li>' for part, _ in sections)
    scripted = [model.label for model in material.models if model.is_scripted]
    if scripted:
        fakes = f"Scripted models: {', '.join(scripted)}. They are fakes that follow a script; {SAYS_NOTHING}"
        notes = [fakes, *notes]
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title><style>{style}</style></head><body>",
        f'<a class="skip" href="#main">skip to the numbers</a><header><h1>{escape(title)}</h1>',
        *(f'<p class="banner" role="note">{escape(note)}</p>' for note in notes),
        f'<nav aria-label="contents"><ul>{links}<li><a href="#about">About this run</a></li></ul></nav></header>',
        '<main id="main">',
    ]
    for part, content in sections:
        heading = f"{escape(part.title)} <small>{escape(part.paper)}</small>"
        lines.append(f'<section id="{part.name}"><h2>{heading}</h2>')
        lines += [f"<p>{escape(text)}</p>" for text in content.text]
        lines += [as_html(table) for table in content.tables]
        lines += [_figure(chart, pictures.get(chart.name)) for chart in content.charts]
        lines.append("</section>")
    lines += [_about(material), "</main></body></html>"]
    return visible("\n".join(lines) + "\n")


def _figure(chart: Chart, svg: str | None) -> str:
    specification = escape(json.dumps(chart.specification, ensure_ascii=False, indent=1))
    picture = f'<div class="picture">{inline_svg(svg, chart)}</div>' if svg else "<p>Not drawn.</p>"
    return (
        f'<figure id="figure-{escape(chart.name)}">{picture}<figcaption>{escape(chart.caption)}</figcaption>'
        f"<details><summary>Specification (Vega-Lite)</summary><pre>{specification}</pre></details></figure>"
    )


def inline_svg(svg: str, chart: Chart) -> str:
    """A rendered picture fit for the page: named for screen readers, ids of its own, ink that follows the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\b(id="|url\(#|href="#)', rf"\g<1>{chart.name}-", svg)
    svg = re.sub(r' style="[^"]*"', "", svg)  # the policy would refuse inline styles
    svg = svg.replace(INK, "currentColor").replace(GRID, "#8888884d").replace('fill="white"', 'fill="none"', 1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(chart.alt)}"', 1)


def _about(material: Material) -> str:
    run = material.summary.run
    models = []
    for model in material.models:
        size = f"{model.n_parameters / 1e9:g} billion parameters" if model.n_parameters else "size not given"
        kind = model.kind if model.kind == ENGINE else f"{model.kind or 'kind not given'}, {size}"
        models.append((f"model {material.label(model.label)}", kind))
    facts = [
        ("runs", ", ".join(folder.path.name for folder in material.folders)),
        *run.versions.items(),
        *models,
        *(
            (f"data {data.name}", f"hash {data.hash or 'not given'}, licence {data.licence or 'not given'}")
            for data in material.datasets
        ),
        *(("left out", sentence) for sentence in material.summary.left_out),
    ]
    rows = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    settings = escape(json.dumps(run.settings, ensure_ascii=False, indent=1, default=dict))
    return (
        f'<section id="about" class="about"><h2>About this run</h2><dl>{rows}</dl>'
        f"<details><summary>Settings</summary><pre>{settings}</pre></details>"
        "<p>Every number stands in summary.json, every table in tables/ as Markdown, CSV and LaTeX, every picture in "
        "pictures/.</p></section>"
    )
