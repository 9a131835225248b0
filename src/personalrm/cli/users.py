"""List the users of the home folder: who is fitted, from how many pairs, in how many versions, and when.

Example: personalrm users
"""

from __future__ import annotations

import argparse
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_table, shown_date
from personalrm.errors import BadInput
from personalrm.wording import count

MOST_LISTED = 1_000
"""More rows than anybody reads; with 100,000 people a list of all takes two seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="list everybody, not the first 1,000 (--json always does)")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.store.reading import PeopleReader

    if options.database is None and not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; fit a file first or pass the right --home")
    people = PeopleReader(options.home, options.database)
    listed = list(people.listed(None if options.all or options.json else MOST_LISTED))
    if options.json:
        print_json(
            [
                {
                    "user_id": person.user_id,
                    "pairs": person.n_pairs,
                    "sentences": person.n_sentences,
                    "versions": person.n_versions,
                    "first_date": person.first_date,
                    "newest_date": person.newest_date,
                    "engine": person.engine,
                }
                for person in listed
            ]
        )
    elif not listed:
        print(f"no users in {options.home}; personalrm fit FILE makes them")
    else:
        rows = [
            (
                person.user_id,
                str(person.n_pairs),
                str(person.n_sentences),
                str(person.n_versions),
                shown_date(person.newest_date),
                person.engine or "not fitted yet",
            )
            for person in listed
        ]
        print_table(("user", "pairs", "sentences", "versions", "newest", "engine"), rows, left=(4, 5))
        n_people = people.n_people()
        if n_people > len(listed):
            print(f"the first {len(listed):,} of {n_people:,} users in {options.home}; --all lists everybody")
        else:
            print(f"{count(n_people, 'user')} in {options.home}")
    return 0
