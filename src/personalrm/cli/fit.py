"""Learn every user of a file and save their personal prompts in the home folder.

Example: personalrm fit prefs.jsonl --home ./personalrm-home
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from personalrm.cli.options import add_config, add_home, add_induction, add_json, add_reading
from personalrm.cli.printing import Progress, print_json

if TYPE_CHECKING:
    from personalrm.induction.fit_job import FitReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="preference pairs: .jsonl, .csv, .tsv, .parquet, also .gz")
    parser.add_argument("-u", "--user", help="fit this user only; the others still tell what most people like")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
    add_home(parser)
    add_reading(parser)
    add_induction(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.cli.options import induction_settings, read_options
    from personalrm.induction.fit_job import FitJob
    from personalrm.store.home import Home

    settings = induction_settings(options)
    job = FitJob(options.file, Home(options.home), read_options(options), settings, user_id=options.user).prepare()
    if not options.dry_run:
        with Progress("fit", job.n_users) as progress:
            for _ in job.run():
                progress.step()
    report = job.report()
    if options.json:
        print_json(report.as_json())
    else:
        _print(report, options)
    return 3 if report.n_bad_rows or report.stopped else 0


def _print(report: FitReport, options: argparse.Namespace) -> None:
    from personalrm.stats.accuracy import count

    if options.dry_run:
        print(f"would fit {count(report.n_users, 'user')} with the embedded engine: 0 calls, 0 tokens, no cost")
    else:
        print(f"{count(report.n_fitted, 'user')} fitted, {report.n_unchanged} unchanged, saved in {options.home}")
    for number, noun, what in (
        (report.n_too_few, "user", "with too few pairs for anything personal"),
        (report.n_without_context, "user", "with target rows only, left out"),
        (report.n_bad_rows, "bad row", "left out; personalrm validate lists them"),
    ):
        if number:
            print(f"{count(number, noun)} {what}")
    for line in report.tally.warnings:
        print(f"warning: {line}")
    if report.stopped:
        print("stopped early; the same command goes on from here")
