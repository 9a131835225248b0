"""List the saved versions of a user's personal prompt.

Example: personalrm history u17
"""

from __future__ import annotations

import argparse
from typing import Any

from personalrm.cli.options import add_config, add_home, add_json
from personalrm.cli.printing import print_json, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    add_home(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    home = Home(options.home)
    rows: list[dict[str, Any]] = []
    for version in home.versions(options.user):
        prompt = home.load(options.user, version.number)
        rows.append(
            {
                "version": version.number,
                "date": version.date,
                "pairs": len(prompt.roles),
                "sentences": [claim.text for claim in prompt.persona.claims],
            }
        )
    if options.json:
        print_json(rows)
        return 0
    header = ("version", "date", "pairs", "sentences")
    print_table(header, [[str(r["version"]), str(r["date"]), str(r["pairs"]), str(len(r["sentences"]))] for r in rows])
    return 0
