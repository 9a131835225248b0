"""Print everything the home folder holds about a user, or about everybody, as JSON lines.

Example: personalrm export u17 > u17.json
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_config, add_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", nargs="?", help="user id (default: everybody)")
    add_home(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    for line in Home(options.home).export(options.user):
        print(line)
    return 0
