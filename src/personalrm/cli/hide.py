"""Never quote a choice or a word of a user again: in no sentence, demonstration or version of their prompt.

A hidden choice is still learned from; `forget` erases one. Without --pair or --word, what is hidden is listed.

Example: personalrm hide u17 --word "St. Mary"
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_output, add_pair
from personalrm.cli.printing import print_json
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    which = parser.add_mutually_exclusive_group()
    add_pair(which)
    which.add_argument("--word", metavar="TEXT", default="", help="a word, or several in a row")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.home import Home

    with Home(options.home, database=options.database) as home:
        person = home.known_person(options.user)
        n_changed = person.hide(pair=options.pair, word=options.word) if options.pair or options.word else 0
        hidden = home.store.hidden(options.user)
        names = {stored.pair.hash: stored.pair.id for stored in person.pairs if stored.is_hidden}
    content = {"pairs": sorted(names.values()), "words": sorted(hidden.words), "versions_rewritten": n_changed}
    if options.json:
        print_json({"user_id": options.user} | content)
        return 0
    if options.pair or options.word:
        print(f"hidden; {count(n_changed, 'version')} of {options.user} rewritten")
    print(f"hidden choices of {options.user}: {', '.join(sorted(names.values())) or 'none'}")
    print(f"hidden words of {options.user}: {', '.join(sorted(hidden.words)) or 'none'}")
    return 0
