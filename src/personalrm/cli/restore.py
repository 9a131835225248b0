"""Make an earlier version of a user's personal prompt the newest again.

Example: personalrm restore u17 1
"""

from __future__ import annotations

import argparse

from personalrm.cli.flags import positive
from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("version", metavar="VERSION", type=positive, help="number, as `personalrm history` lists it")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.store.people import PeopleStore

    people = PeopleStore(options.home, options.database)
    before = people.versions(options.user)[-1].number
    number = people.restore(options.user, options.version)
    if options.json:
        print_json({"user_id": options.user, "restored": options.version, "version": number})
    elif number == before:
        print(f"version {options.version} of {options.user} says the same as the newest, {number}; nothing changed")
    else:
        print(f"version {options.version} of {options.user} is the newest again, as version {number}")
    return 0
