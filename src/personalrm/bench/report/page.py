"""The report as one HTML page: no script, no outside asset, everything escaped.

The content security policy allows the page's own style by its hash and nothing else, so a text
that slipped through unescaped could still not run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from personalrm.bench.report.charts import GRID, INK
from personalrm.bench.report.material import Chart, Material, Section
from personalrm.bench.report.tables import as_html
from personalrm.wording import visible

ENGINE = "embedded engine"
"""The kind of a model that has no parameters to count."""
SAYS_NOTHING = "nothing here says anything about a language model."


def page(material: Material, sections: Sequence[Section], pictures: Mapping[str, str], notes: Sequence[str]) -> str:
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
    links = "".join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in sections)
    scripted = [model.label for model in material.models if model.is_scripted]
    if scripted:
        fakes = f"Scripted models: {', '.join(scripted)}. They are fakes that follow a script; {SAYS_NOTHING}"
        notes = [fakes, *notes]
    parts = [
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
    for section in sections:
        heading = f"{escape(section.title)} <small>{escape(section.paper)}</small>"
        parts.append(f'<section id="{section.name}"><h2>{heading}</h2>')
        parts += [f"<p>{escape(text)}</p>" for text in section.text]
        parts += [as_html(table) for table in section.tables]
        parts += [_figure(chart, pictures.get(chart.name)) for chart in section.charts]
        parts.append("</section>")
    parts += [_about(material), "</main></body></html>"]
    return visible("\n".join(parts) + "\n")


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
