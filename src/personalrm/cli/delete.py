"""Erase everything the home folder holds about a user.

Example: personalrm delete u17 --yes
"""

from __future__ import annotations

import argparse
import sys

from personalrm.cli.options import add_config, add_home, add_json
from personalrm.cli.printing import print_json
from personalrm.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_home(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.stats.accuracy import count
    from personalrm.store.home import Home

    home = Home(options.home)
    n_versions = home.count_erasable(options.user)
    if not options.yes and not _confirmed(options.user, n_versions):
        raise BadInput(f"nothing was erased; pass --yes to erase {count(n_versions, 'version')} of {options.user!r}")
    home.delete(options.user)
    if options.json:
        print_json({"user_id": options.user, "versions_erased": n_versions})
    else:
        print(f"erased {count(n_versions, 'version')} of {options.user}")
    return 0


def _confirmed(user_id: str, n_versions: int) -> bool:
    """Ask on a terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    return input(f"erase {n_versions} versions of {user_id}? [y/N] ").strip().lower() in ("y", "yes")
