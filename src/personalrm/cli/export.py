"""Print everything the home folder holds about a user, or about everybody, as JSON lines.

Example: personalrm export u17 > u17.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_problems
from personalrm.errors import BadInput, StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", nargs="?", help="user id (default: everybody)")
    add_output(parser, "home", "config")


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    if options.user is None and not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; pass the right --home")
    left_out: list[StoreError] = []
    for line in Home(options.home).export(options.user, report=left_out.append):
        print(line)
    return print_problems(f"left out: {error}" for error in left_out)
