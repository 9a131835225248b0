"""Learn every user of a file and save their personal prompts in the home folder.

Example: personalrm fit prefs.jsonl --home ./personalrm-home
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_config, add_home, add_induction, add_json, add_reading


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
    from personalrm.cli.printing import Progress, print_json
    from personalrm.running.fitting import FitJob
    from personalrm.store.home import Home

    job = FitJob.prepare(
        options.file, Home(options.home), read_options(options), induction_settings(options), user_id=options.user
    )
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
