"""Check a file of preference pairs and list every row that cannot be used.

Example: personalrm validate prefs.jsonl
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from personalrm.cli.options import add_output, add_reading, read_options
from personalrm.cli.printing import bold, print_json
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="preference pairs: .jsonl, .csv, .tsv, .parquet, also .gz")
    add_reading(parser)
    add_output(parser, "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.preferences.reading.files import validate

    report = validate(options.file, read_options(options))
    if options.json:
        print_json(asdict(report))
    else:
        counts = ((report.n_rows, "row"), (report.n_pairs, "pair"), (report.n_users, "user"))
        holds = ", ".join(count(n, noun) for n, noun in counts)
        print(bold(options.file) + f"  layout {report.layout or 'unknown'}, {holds}")
        for problem in report.problems:
            print(f"  line {problem.line}: {problem.message}")
        if report.n_bad_rows > len(report.problems):
            print(f"  ... and {report.n_bad_rows - len(report.problems)} more")
        for warning in report.warnings:
            print(f"  warning: {warning}")
        print(f"{count(report.n_bad_rows, 'row')} cannot be used" if report.n_bad_rows else "every row can be used")
    if not report.n_bad_rows:
        return 0
    return 3 if options.skip_bad else 2
