"""Take what `export` printed into a home folder: all of it, or nothing where a line cannot be read.

What is there already stays as it is; a version whose number is taken gets the next free one. Choices that were
forgotten in this home do not come back. Kept answers and rows of runs are left behind and counted.

Example: personalrm import u17.jsonl --home ./other-home
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json
from personalrm.errors import BadFile, BadRow
from personalrm.wording import count

AGAIN = "pass what personalrm export printed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="JSON lines that export printed; - reads standard input")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.moving import import_lines
    from personalrm.store.people import PeopleStore

    where = "standard input" if options.file == "-" else repr(options.file)
    people = PeopleStore(options.home, options.database)
    imported = import_lines(people, _lines(options.file, where), where=where)
    if not imported.n_lines:
        raise BadFile(f"{where} is empty; pass what personalrm export printed")
    if options.json:
        print_json(vars(imported))
    else:
        new = f"{count(imported.n_new, 'line')} of {imported.n_lines:,} new"
        print(f"{count(imported.n_people, 'user')} imported into {options.home}, {new}")
        if imported.n_left_behind:
            print(f"{count(imported.n_left_behind, 'line')} with kept answers or rows of runs left behind")
    return 0


def _lines(path: str, where: str) -> Iterator[Any]:
    """The JSON values of a file, a line each; blank lines say nothing."""
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError):
                        message = f"{where} line {number} is not JSON; {AGAIN}; nothing was imported"
                        raise BadRow(message, line=number) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadFile(f"{where} cannot be read ({reason}); check the path and the rights") from None
