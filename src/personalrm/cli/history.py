"""List the saved versions of a user's personal prompt, what made each and what changed in it.

A version that cannot be read is marked and counted; the exit code is 3 then.

Example: personalrm history u17
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_problems, print_table, shown_date
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.personal_prompts import PersonalPrompt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.errors import CorruptFile, NewerVersion
    from personalrm.induction.prompt_changes import compare_prompts, origin_of
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Persona
    from personalrm.store.reading import PeopleReader

    people = PeopleReader(options.home, options.database)
    seen: dict[int, PersonalPrompt | None] = {}
    before = PersonalPrompt(options.user, Persona())  # the first version differs from nothing
    rows: list[dict[str, Any]] = []
    for version in people.versions(options.user):
        try:
            prompt = people.load(options.user, version.number)
        except (CorruptFile, NewerVersion) as error:
            rows.append({"version": version.number, "date": version.date, "problem": str(error)})
            seen[version.number] = None
            continue
        changes, origin = compare_prompts(before, prompt), origin_of(prompt, seen)
        rows.append(
            {
                "version": version.number,
                "date": version.date,
                "what": origin.kind,
                "what_happened": origin.line,
                "restored_from": origin.restored_from,
                "pairs": len(prompt.roles),
                "sentences": [claim.text for claim in prompt.persona.claims],
                "pairs_added": changes.pairs_added,
                "pairs_removed": changes.pairs_removed,
                "sentences_added": changes.count("added"),
                "sentences_removed": changes.count("removed"),
                "sentences_changed": changes.count("changed"),
                "drift": None if prompt.drift is None else asdict(prompt.drift),
            }
        )
        before = seen[version.number] = prompt
    if options.json:
        print_json(rows)
    else:
        print_table(("", "date", "pairs", "sentences", "what happened"), [_cells(row) for row in rows], left=(1, 4))
    return print_problems(row["problem"] for row in rows if "problem" in row)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A version as people read it; what changed in the persona is a clause, left out where nothing did."""
    number, date = f"v{row['version']}", shown_date(row["date"])
    if "problem" in row:
        return (number, date, "", "", "damaged or of a later personalrm, cannot be read")
    numbers = [(row[f"sentences_{kind}"], kind) for kind in ("added", "removed", "changed")]
    changed = [(n, kind) for n, kind in numbers if n]
    what = str(row["what_happened"])
    if changed and row["what"] != "fitted":
        (first, kind), *rest = changed
        what += ": " + ", ".join([f"{count(first, 'sentence')} {kind}", *(f"{n} {kind}" for n, kind in rest)])
    if row["drift"] is not None:
        what += f"; taste changed, since pair {row['drift']['pair_number']}"
    return (number, date, str(row["pairs"]), str(len(row["sentences"])), what)
