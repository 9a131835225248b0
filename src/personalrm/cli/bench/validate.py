"""Check a run file before it is run, or every judgement of a run folder afterwards.

Example: personalrm bench validate run.yaml
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_wrapped
from personalrm.cli.trusted import Trusted, add_trust, check_run_file
from personalrm.wording import count

MOST_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="RUN.yaml|FOLDER", help="a run file or a run folder")
    parser.add_argument("--data", metavar="DIR", help="where datasets are that do not lie beside the run file")
    add_trust(parser, "the run file")
    add_output(parser, "config", "json")


def run(options: argparse.Namespace) -> int:
    return _check_folder(options) if Path(options.what).is_dir() else _check_file(options)


def _check_file(options: argparse.Namespace) -> int:
    """Settings, datasets, persona prompts, base models; models are not asked, weights not loaded."""
    from personalrm.bench.plan.cells import left_out, plan_cells
    from personalrm.bench.plan.spec import read_run_file
    from personalrm.bench.runs.setup import load_bases, load_datasets, load_persona_prompts

    spec, base = read_run_file(options.what), Path(options.what).parent
    data = Path(options.data) if options.data is not None else None
    check_run_file(spec, Trusted.of(options.what, options), data)
    load_persona_prompts(spec, base)
    datasets = load_datasets(spec, base, data)
    load_bases(spec, datasets, base)
    n_bad_rows = sum(dataset.n_bad_rows for dataset in datasets.values())
    plan: dict[str, Any] = {
        "n_cells": len(plan_cells(spec)),
        "datasets": {name: dict(dataset.info.statistics) for name, dataset in datasets.items()},
        "n_bad_rows": n_bad_rows,
        "left_out": left_out(spec),
    }
    if options.json:
        print_json(plan)
    else:
        print(f"{options.what}: {count(plan['n_cells'], 'cell')}")
        for name, counts in plan["datasets"].items():
            print(
                f"  {name}: {count(counts['n_target_users'], 'user')}, {count(counts['n_target_pairs'], 'target pair')}"
            )
        for note in plan["left_out"]:
            print_wrapped(note, "  ")
    return 3 if n_bad_rows else 0


def _check_folder(options: argparse.Namespace) -> int:
    from personalrm.bench.results.state import validate_run

    report = validate_run(options.what)
    if options.json:
        print_json(asdict(report) | {"missing": [cell.name for cell in report.missing], "is_whole": report.is_whole})
    else:
        print(f"{options.what}: {count(report.n_done, 'cell')}, {count(report.n_unscored, 'unscored judgement')}")
        for problem in report.problems[:MOST_LISTED]:
            print_wrapped(problem, "  ")
        for cell in report.missing[:MOST_LISTED]:
            print(f"  not finished: {cell.name}")
        if len(report.missing) > MOST_LISTED:
            print(f"  ... and {len(report.missing) - MOST_LISTED} more")
    return 0 if report.is_whole else 3
