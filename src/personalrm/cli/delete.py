"""Erase everything the home folder holds about a user: choices, prompts, kept answers, embeddings, rows of runs.

Trained models that learned from the user are named, and stay. Example files and copies elsewhere are not reached.

Example: personalrm delete u17 --yes
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_output
from personalrm.cli.printing import confirm, print_error, print_json
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.erasing import erase_person, is_anywhere
    from personalrm.store.people import PeopleStore

    people = PeopleStore(options.home, options.database)
    if not is_anywhere(people, options.user):
        raise people.unknown(options.user)
    n_versions, n_pairs = people.count(options.user)
    confirm(
        options.yes, f"erase {count(n_versions, 'version')} and {count(n_pairs, 'choice')} of {options.user}", "erased"
    )
    erased = erase_person(people, options.user)
    for path in erased.damaged_files:
        print_error(f"{path} was a damaged cache that may have held answers of {options.user}; it was removed", 0)
    if options.json:
        print_json(
            {
                "user_id": erased.user_id,
                "versions_erased": erased.n_versions,
                "pairs_erased": erased.n_pairs,
                "answers_erased": erased.n_answers,
                "embeddings_erased": erased.n_embeddings,
                "run_rows_erased": erased.runs.n_rows,
                "runs": list(erased.runs.runs),
                "models": [str(path) for path in erased.runs.models],
                "notes": list(erased.runs.notes),
            }
        )
        return 0
    numbers = (
        (erased.n_versions, "version"),
        (erased.n_pairs, "choice"),
        (erased.n_answers, "cached answer"),
        (erased.n_embeddings, "embedding"),
    )
    said = [count(n, word) for n, word in numbers if n]
    said += [f"{count(erased.runs.n_rows, 'row')} of runs"] if erased.runs.n_rows else []
    said = said or ["what was left"]
    print(f"erased {', '.join(said[:-1])}{' and ' if said[1:] else ''}{said[-1]} of {erased.user_id}")
    for note in erased.runs.notes:
        print(note)
    for path in erased.runs.models:
        print(f"{path} was trained with choices of {erased.user_id} and still holds what it learned; remove it by hand")
    return 0
