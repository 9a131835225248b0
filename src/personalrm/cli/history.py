"""List the saved versions of a user's personal prompt, what made each and what changed in it.

A version that cannot be read is marked and counted; the exit code is 3 then.

Example: personalrm history u17
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_error, print_json, print_table, shown_date
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.store.home import Version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.errors import CorruptFile, NewerVersion
    from personalrm.store.home import Home

    home = Home(options.home)
    seen: dict[int, PersonalPrompt | None] = {}
    rows: list[dict[str, Any]] = []
    for version in home.versions(options.user):
        try:
            prompt = home.load(options.user, version.number)
        except (CorruptFile, NewerVersion) as error:
            rows.append({"version": version.number, "date": version.date, "problem": str(error)})
            seen[version.number] = None
            continue
        rows.append(_row(version, seen, prompt))
        seen[version.number] = prompt
    if options.json:
        print_json(rows)
    else:
        print_table(("", "date", "pairs", "sentences", "what happened"), [_cells(row) for row in rows], left=(1, 4))
    problems = [row["problem"] for row in rows if "problem" in row]
    for problem in problems:
        print_error(problem, 3)
    return 3 if problems else 0


def _row(version: Version, seen: dict[int, PersonalPrompt | None], prompt: PersonalPrompt) -> dict[str, Any]:
    """A version and how it differs from the one before that can be read; the first differs from nothing."""
    from dataclasses import asdict

    from personalrm.induction.prompt_changes import compare_prompts, origin_of
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Persona

    before = next(
        (earlier for earlier in reversed(seen.values()) if earlier), PersonalPrompt(prompt.user_id, Persona())
    )
    changes = compare_prompts(before, prompt)
    origin = origin_of(prompt, seen)
    return {
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


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    number, date = f"v{row['version']}", shown_date(row["date"])
    if "problem" in row:
        return (number, date, "", "", "damaged or of a later personalrm, cannot be read")
    return (number, date, str(row["pairs"]), str(len(row["sentences"])), f"{row['what_happened']}{_changes(row)}")


def _changes(row: dict[str, Any]) -> str:
    """What changed in the persona, as a clause; empty where there is nothing to tell."""
    numbers = {kind: row[f"sentences_{kind}"] for kind in ("added", "removed", "changed")}
    first, *rest = [(n, kind) for kind, n in numbers.items() if n] or [(0, "")]
    changes = ", ".join([f"{count(first[0], 'sentence')} {first[1]}", *(f"{n} {kind}" for n, kind in rest)])
    clause = f": {changes}" if first[0] and row["what"] != "fitted" else ""
    return clause + ("" if row["drift"] is None else f"; taste changed, since pair {row['drift']['pair_number']}")
