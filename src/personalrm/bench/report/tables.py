"""A table of the report, and the four ways to write it: HTML, Markdown, CSV, LaTeX.

A table knows texts only; whoever fills it decides what is best and what is marked. Every
text is escaped here, because names of datasets, models and users are somebody else's: for each format where it
stands, and what would turn a line around or hide in it once, at the end.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from personalrm.wording import visible

DASH = "\N{EN DASH}"
"""Stands where nothing was measured."""
MOST_COLUMNS = 7
"""Columns of a table whose intervals stand beside their numbers; with more they stand below."""
SHORT = 28
"""Characters that stay on one line."""
NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*%?(?![0-9A-Za-z])")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


@dataclass(frozen=True)
class Value:
    """One field: a number with its interval, or a text."""

    text: str = ""
    interval: tuple[str, str] | None = None
    mark: str = ""
    """A sign whose meaning stands in the notes of the table."""
    is_best: bool = False


@dataclass(frozen=True)
class Column:
    """One column; columns of one group that stand together share a heading above theirs."""

    name: str
    group: str = ""


@dataclass(frozen=True)
class TableRow:
    """One row: its heading, and a value a column."""

    heading: str
    values: Sequence[Value]
    group: str = ""
    """Rows of one group that stand together share a heading above them."""


@dataclass(frozen=True)
class Table:
    """A table with everything a reader needs to understand it without the text around it."""

    name: str
    """File name without ending, and anchor in the page."""
    caption: str
    corner: str
    """Heading of the column of headings."""
    columns: Sequence[Column]
    rows: Sequence[TableRow]
    notes: Sequence[str] = ()


def as_html(table: Table) -> str:
    """A `<table>` with caption and scopes, in a region that scrolls sideways on a phone."""
    dense = ' class="dense"' if len(table.columns) > MOST_COLUMNS else ""
    groups = ""
    if any(column.group for column in table.columns):  # a row of headings above the headings
        for name, columns in groupby(table.columns, lambda column: column.group):
            n = len(list(columns))
            groups += (
                f'<th scope="colgroup" colspan="{n}" class="group">{escape(name)}</th>'
                if name
                else f'<td colspan="{n}"></td>'
            )
        groups = f"<tr><td></td>{groups}</tr>"
    heads = f'<th scope="col">{escape(table.corner)}</th>'
    for place, column in enumerate(table.columns):  # numbers stand to the right, texts to the left
        kind = "number" if all(_is_number(row.values[place]) for row in table.rows) else "short"
        heads += f'<th scope="col" class="{kind}">{escape(column.name)}</th>'
    parts = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.caption)}">',
        f'<table id="table-{escape(table.name)}"{dense}><caption><span>{escape(table.caption)}</span></caption>',
        f"<thead>{groups}<tr>{heads}</tr></thead><tbody>",
    ]
    for group, rows in groupby(table.rows, lambda row: row.group):
        if group:
            span = len(table.columns) + 1
            parts.append(f'<tr><th scope="rowgroup" colspan="{span}" class="group">{escape(group)}</th></tr>')
        for row in rows:
            cells = "".join(map(_html_cell, row.values))
            parts.append(f'<tr><th scope="row">{escape(row.heading)}</th>{cells}</tr>')
    parts.append("</tbody></table></div>")
    parts += [f'<p class="note">{escape(note)}</p>' for note in table.notes]
    return visible("\n".join(parts))


def as_markdown(table: Table) -> str:
    """The table in Markdown, caption above, notes below."""
    heads = [_markdown(name) for name in (table.corner, *map(_full_name, table.columns))]
    lines = [f"**{_markdown(table.caption)}**", "", _markdown_row(heads), _markdown_row(["---"] * len(heads))]
    for group, rows in groupby(table.rows, lambda row: row.group):
        if group:
            lines.append(_markdown_row([f"*{_markdown(group)}*", *[""] * len(table.columns)]))
        for row in rows:
            lines.append(_markdown_row([_markdown(row.heading), *map(_markdown_cell, row.values)]))
    return visible("\n".join([*lines, *(f"\n{_markdown(note)}" for note in table.notes)]) + "\n")


def as_csv(table: Table) -> str:
    """The table for machines: an interval takes two columns of its own."""
    wide = [any(row.values[place].interval for row in table.rows) for place in range(len(table.columns))]
    heads = ["group", table.corner]
    for column, has_interval in zip(table.columns, wide, strict=True):
        name = _full_name(column)
        heads += [name, f"{name} low", f"{name} high"] if has_interval else [name]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_plain_text, heads))
    for row in table.rows:
        cells = [row.group, row.heading]
        for value, has_interval in zip(row.values, wide, strict=True):
            cells += [value.text + value.mark, *((value.interval or ("", "")) if has_interval else ())]
        writer.writerow(map(_plain_text, cells))
    return visible(out.getvalue())


def as_latex(table: Table) -> str:
    """The table for a paper, in the manner of the package booktabs."""
    heads = [table.corner, *(_full_name(column) for column in table.columns)]
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule", _latex_row(map(_latex, heads)), r"\midrule",
    ]  # fmt: skip
    for group, rows in groupby(table.rows, lambda row: row.group):
        if group:
            lines.append(rf"\multicolumn{{{len(heads)}}}{{l}}{{\emph{{{_latex(group)}}}}} \\")
        lines += [_latex_row([_latex(row.heading), *map(_latex_cell, row.values)]) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", *(rf"\\ \footnotesize {_latex(note)}" for note in table.notes)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _full_name(column: Column) -> str:
    return f"{column.group}: {column.name}" if column.group else column.name


def _is_number(value: Value) -> bool:
    return NUMBER.match(value.text) is not None or value.text in ("", DASH)


def _html_cell(value: Value) -> str:
    text = escape(value.text).replace("\n", "<br>")
    text = f"<strong>{text}</strong>" if value.is_best else text
    mark = f"<sup>{escape(value.mark)}</sup>" if value.mark else ""
    interval = f' <span class="interval">[{escape(", ".join(value.interval))}]</span>' if value.interval else ""
    kind = "number" if _is_number(value) else "short" if len(value.text) <= SHORT else "text"
    if kind == "number":  # a narrow column folds before the interval and nowhere else
        text = text.replace(" ", "&nbsp;")
    return f'<td class="{kind}">{text}{mark}{interval}</td>'


def _markdown(text: str) -> str:
    for sign in "\\`*_[]|#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br>")


def _markdown_cell(value: Value) -> str:
    text = _markdown(value.text)
    text = f"**{text}**" if value.is_best and text else text
    interval = f" [{', '.join(value.interval)}]" if value.interval else ""
    return f"{text}{_markdown(value.mark)}{interval}"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain_text(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.match(text) else text


def _latex(text: str) -> str:
    return " ".join(visible(text).translate(LATEX).split())


def _latex_cell(value: Value) -> str:
    text = rf"\textbf{{{_latex(value.text)}}}" if value.is_best else _latex(value.text)
    mark = rf"\textsuperscript{{{_latex(value.mark)}}}" if value.mark else ""
    interval = rf" {{\scriptsize [{', '.join(value.interval)}]}}" if value.interval else ""
    return f"{text}{mark}{interval}"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
