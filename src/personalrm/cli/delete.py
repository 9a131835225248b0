"""Erase everything the home folder holds about a user.

Example: personalrm delete u17 --yes
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_error, print_json
from personalrm.errors import BadInput
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    home = Home(options.home)
    n_versions = home.count_erasable(options.user)
    versions = count(n_versions, "version")
    if not options.yes and not _confirmed(options.user, versions):
        raise BadInput(f"nothing was erased; pass --yes to erase {versions} of {options.user!r}")
    n_answers = _erase_answers(options)
    home.delete(options.user)
    if options.json:
        print_json({"user_id": options.user, "versions_erased": n_versions, "answers_erased": n_answers})
    else:
        answers = f" and {count(n_answers, 'cached answer')}" if n_answers else ""
        print(f"erased {versions}{answers} of {options.user}")
    return 0


def _erase_answers(options: argparse.Namespace) -> int:
    """Take the user out of the cache of model answers, first: a kill in between leaves the prompts to try again."""
    from personalrm.lm.cache import Cache

    cache = Cache(Path(options.home) / "cache.sqlite")
    damaged = cache.files_set_aside()
    if not (damaged or cache.path.exists()):
        return 0
    with cache:
        damaged = cache.files_set_aside()  # opening may have found one more
        n_answers = cache.erase(options.user)
    for path in damaged:
        print_error(f"{path} was a damaged cache that may have held answers of {options.user}; it was removed", 0)
    return n_answers


def _confirmed(user_id: str, versions: str) -> bool:
    """Ask on a terminal; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    return input(f"erase {versions} of {user_id}? [y/N] ").strip().lower() in ("y", "yes")
