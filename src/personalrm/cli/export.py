"""Print everything the home folder holds about a user, or about everybody, as JSON lines.

One a line: choices, versions of the prompt, edits, hidden words, kept answers of models, rows of the home's runs.
`personalrm import` takes them into another home. Without --dates two homes that learned the same print the same.

Example: personalrm export u17 > u17.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_problems
from personalrm.errors import BadInput, CorruptFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", nargs="?", help="user id (default: everybody)")
    parser.add_argument("--dates", action="store_true", help="say when each choice and version was stored")
    add_output(parser, "home", "database", "config")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.moving import export_lines
    from personalrm.store.people import PeopleStore

    if options.user is None and options.database is None and not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; pass the right --home")
    people = PeopleStore(options.home, options.database)
    left_out: list[CorruptFile] = []
    for line in export_lines(people, options.user, with_dates=options.dates, report=left_out.append):
        print(json.dumps(line, ensure_ascii=False))
    return print_problems(f"left out: {error}" for error in left_out)
