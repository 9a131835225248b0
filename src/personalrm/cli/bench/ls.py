"""List the runs of the home folder and how far they are.

Example: personalrm bench ls
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_problems, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", help="folder of runs (default: runs in the home folder)")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.results.state import runs_in

    runs = runs_in(options.folder or Path(options.home) / "runs")
    if options.json:
        print_json([asdict(entry) | {"state": entry.state} for entry in runs])
    elif not runs:
        print("no runs; personalrm bench run -c run.yaml makes one")
    else:
        rows = []
        for entry in runs:
            cells = f"{entry.n_done}/{entry.n_planned}"
            rows.append(
                (entry.name, entry.state, cells, ", ".join(entry.datasets), ", ".join(entry.models), entry.last)
            )
        print_table(("run", "state", "cells", "datasets", "models", "last cell"), rows)
    return print_problems(entry.problem for entry in runs if entry.problem)
