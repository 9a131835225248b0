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
    from personalrm.lm.cache import Cache
    from personalrm.store.home import Home

    home = Home(options.home)
    n_versions = home.count_erasable(options.user)
    versions = count(n_versions, "version")
    is_confirmed = options.yes
    if not is_confirmed and sys.stdin.isatty():  # without a terminal nobody is asked, and the answer is no
        answer = input(f"erase {versions} of {options.user}? [y/N] ")
        is_confirmed = answer.strip().lower() in ("y", "yes")
    if not is_confirmed:
        raise BadInput(f"nothing was erased; pass --yes to erase {versions} of {options.user!r}")
    # Cached answers go first: a kill in between leaves the prompts, so that the command can be given again.
    n_answers = 0
    cache = Cache(Path(options.home) / "cache.sqlite")
    if cache.files_set_aside() or cache.path.exists():
        with cache:
            damaged = cache.files_set_aside()  # asked again, since opening may have found one more
            n_answers = cache.erase(options.user)
        for path in damaged:
            print_error(f"{path} was a damaged cache that may have held answers of {options.user}; it was removed", 0)
    home.delete(options.user)
    if options.json:
        print_json({"user_id": options.user, "versions_erased": n_versions, "answers_erased": n_answers})
    else:
        answers = f" and {count(n_answers, 'cached answer')}" if n_answers else ""
        print(f"erased {versions}{answers} of {options.user}")
    return 0
