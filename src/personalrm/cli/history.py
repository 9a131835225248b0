"""List the saved versions of a user's personal prompt, and what changed in each.

Example: personalrm history u17
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from personalrm.cli.options import add_config, add_home, add_json
from personalrm.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.store.home import Version


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    add_home(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    home = Home(options.home)
    rows: list[dict[str, Any]] = []
    before: PersonalPrompt | None = None
    for version in home.versions(options.user):
        prompt = home.load(options.user, version.number)
        rows.append(_row(version, before, prompt))
        before = prompt
    if options.json:
        print_json(rows)
        return 0
    header = ("version", "date", "pairs", "new", "sentences", "added", "removed", "changed", "drift")
    print_table(header, [_cells(row) for row in rows])
    return 0


def _row(version: Version, before: PersonalPrompt | None, prompt: PersonalPrompt) -> dict[str, Any]:
    """A version and how it differs from the one before; the first differs in everything from nothing."""
    from dataclasses import asdict

    from personalrm.induction.prompt_changes import compare_prompts
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Persona

    changes = compare_prompts(before or PersonalPrompt(prompt.user_id, Persona()), prompt)
    return {
        "version": version.number,
        "date": version.date,
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
    drift = row["drift"]
    numbers = (len(row["sentences"]), row["sentences_added"], row["sentences_removed"], row["sentences_changed"])
    new = f"+{row['pairs_added']}" + (f" -{row['pairs_removed']}" if row["pairs_removed"] else "")
    since = "" if drift is None else f"since pair {drift['pair_number']}"
    return (str(row["version"]), row["date"], str(row["pairs"]), new, *map(str, numbers), since)
