"""List the runs of the home folder and how far they are.

Example: personalrm bench ls
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from personalrm.cli.options import add_config, add_home, add_json
from personalrm.cli.printing import print_error, print_json, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", help="folder of runs (default: runs in the home folder)")
    add_home(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.results.state import runs_in

    runs = runs_in(options.folder or Path(options.home) / "runs")
    if options.json:
        print_json([asdict(one) | {"state": one.state} for one in runs])
    elif not runs:
        print("no runs; personalrm bench run -c run.yaml makes one")
    else:
        rows = [
            (
                one.name,
                one.state,
                f"{one.n_done}/{one.n_planned}",
                ", ".join(one.datasets),
                ", ".join(one.models),
                one.last,
            )
            for one in runs
        ]
        print_table(("run", "state", "cells", "datasets", "models", "last cell"), rows)
    for one in runs:
        if one.problem:
            print_error(one.problem, 3)
    return 3 if any(one.problem for one in runs) else 0
