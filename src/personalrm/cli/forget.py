"""Erase one choice of a user for good: no version of the prompt shows it, and a later fit passes it over.

The prompt is learned again from the choices that are left where the embedded engine made it; a model's prompt is not
until the next fit. Where no choice is left, all versions of the prompt go too. Kept answers of a model about this user
go as well, since any of them may quote the choice.

Example: personalrm forget u17 --pair p4
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_output, add_pair
from personalrm.cli.printing import confirm, print_json
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    add_pair(parser, required=True)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.home import Home

    with Home(options.home, database=options.database) as home:
        person = home.known_person(options.user)
        confirm(options.yes, f"forget choice {options.pair} of {options.user} for good", "forgotten")
        forgotten = person.forget(options.pair)
    if options.json:
        print_json(vars(forgotten) | {"user_id": options.user})
        return 0
    answers = f" and {count(forgotten.n_answers, 'cached answer')}" if forgotten.n_answers else ""
    print(f"forgot {count(forgotten.n_pairs, 'choice')}{answers} of {options.user}")
    if forgotten.version is not None:
        print(f"learned again from the choices that are left, saved as version {forgotten.version}")
    elif forgotten.n_versions:
        print(f"no choice is left: {count(forgotten.n_versions, 'version')} of the prompt erased too")
    elif forgotten.made_by is not None:
        print(
            f"no version quotes it; what {forgotten.made_by} learned from it stays in sentences until the next fit:\n"
            f"personalrm fit FILE --user {options.user} --model {forgotten.made_by}"
        )
    return 0
