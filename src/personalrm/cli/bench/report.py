"""Write the tables and pictures of the paper from run folders, as one page and as files.

Example: personalrm bench report runs/prism
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from personalrm.cli.flags import folder
from personalrm.cli.options import add_output
from personalrm.cli.printing import print_problems, print_table, print_wrapped
from personalrm.errors import BadInput
from personalrm.wording import count

SIGNS = {
    "report.html": "<title>Benchmark report: ",
    "report.md": "# Benchmark report: ",
    "summary.json": '"format_version"',
}
"""What each file of ours says near its beginning."""
LOOKED_AT = 65_536


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders; several are read as one")
    parser.add_argument(
        "--output", type=folder, metavar="FOLDER", help="where the report goes (default: into the run, if it is one)"
    )
    parser.add_argument(
        "--texts",
        choices=("allowed", "all", "none"),
        default="allowed",
        help="show queries and personas of people where the data allows it, everywhere, or nowhere "
        "(default: %(default)s)",
    )
    parser.add_argument("--persona-user", metavar="ID", help="whose personas are shown side by side")
    add_output(parser, "config")


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.report.writing import write_report
    from personalrm.bench.results.folder import RunFolder
    from personalrm.stats.accuracy import percent

    output = Path(options.output or options.runs[0])
    for name, sign in SIGNS.items():  # a page or summary of somebody else is not replaced
        path = output / name
        try:
            is_ours = not path.exists() or sign in path.read_text(encoding="utf-8", errors="replace")[:LOOKED_AT]
        except OSError:  # such as a folder of that name
            is_ours = False
        if not is_ours:
            raise BadInput(
                f"{str(path)!r} was not written by bench report and would be replaced; move it away or name another "
                "folder with --output"
            )
    if options.output is not None:
        _refuse_others(output, [RunFolder(run).info().name for run in options.runs])
    written = write_report(options.runs, output=options.output, texts=options.texts, user=options.persona_user)
    summary = written.summary
    scripted = {model.label for model in summary.run.models if model.is_scripted}
    rows: list[tuple[str, ...]] = []
    for entry in summary.entries:  # those of Table 3
        cell, a = entry.cell, entry.accuracy
        if cell.control is None and cell.k is None and cell.teacher is None:
            model = f"{cell.model} (scripted)" if cell.model in scripted else cell.model or ""
            interval = f"[{percent(a.low)}, {percent(a.high)}]" if a and a.n_users > 1 else ""
            numbers = (percent(a.accuracy), interval, f"{a.n_users:,}") if a else ("not scored", "", "")
            rows.append((cell.dataset, cell.method, model, *numbers, f"{entry.n_unscored:,}"))
    print_table(("dataset", "method", "model", "accuracy %", "95 % interval", "users", "unscored"), rows)
    for note in written.notes:
        print_wrapped(f"note: {note}")
    print(f"{count(written.n_tables, 'table')}, {count(written.n_pictures, 'picture')}; the page is {written.path}")
    return print_problems(f"left out: {sentence}" for sentence in (*summary.left_out, *written.damages))


def _refuse_others(output: Path, names: list[str]) -> None:
    """A folder that holds the report of other runs, or tables and pictures of somebody else, is not written into."""
    if not (output / "summary.json").exists():
        for name in ("tables", "pictures"):
            if (output / name).exists() and not (output / "report.html").exists():
                raise BadInput(f"{str(output / name)!r} was not written by bench report; name another folder")
        return
    try:
        of = json.loads((output / "summary.json").read_text(encoding="utf-8"))["run"]["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        of = None
    if of != " + ".join(names):
        raise BadInput(f"{str(output)!r} holds the report of {of!r}; name another folder with --output")
