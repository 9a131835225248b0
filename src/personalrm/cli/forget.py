"""Erase one choice of a user for good: no version of the prompt shows it, and a later fit passes it over.

The prompt is learned again from the choices that are left where the embedded engine made it; a model's prompt is not
until the next fit. Kept answers of a model about this user go too, since any of them may quote the choice.

Example: personalrm forget u17 --pair p4
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_output
from personalrm.cli.printing import confirm, print_json
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument(
        "--pair", metavar="ID", required=True, help="its pair_id, or its hash, as show --evidence and export name it"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.home import Home

    with Home(options.home, database=options.database) as home:
        person = home.person(options.user)
        if not home.store.knows(options.user):
            raise home.store.unknown(options.user)
        confirm(options.yes, f"forget choice {options.pair} of {options.user} for good", "forgotten")
        forgotten = person.forget(options.pair)
    if options.json:
        print_json(vars(forgotten) | {"user_id": options.user})
        return 0
    answers = f" and {count(forgotten.n_answers, 'cached answer')}" if forgotten.n_answers else ""
    print(f"forgot {count(forgotten.n_pairs, 'choice')}{answers} of {options.user}")
    if forgotten.version is not None:
        print(f"learned again from the choices that are left, saved as version {forgotten.version}")
    else:
        print("sentences and weights that were learned from it stay until the next fit")
    return 0
