"""Show what changed between two versions of a user's personal prompt, sentence by sentence.

Without versions the newest is held against the one before it, with one version the newest
against that.

Example: personalrm diff u17 1 3
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from personalrm.cli.flags import positive
from personalrm.cli.options import add_output
from personalrm.cli.printing import bold, print_json, print_table, print_wrapped

if TYPE_CHECKING:
    from personalrm.induction.prompt_changes import PromptChanges, SentenceChange

SIGNS = {"added": "+", "removed": "-", "changed": "~", "kept": " "}
MOST_IDS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("before", metavar="A", nargs="?", type=positive, help="version to start from")
    parser.add_argument("after", metavar="B", nargs="?", type=positive, help="version to compare with it")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.errors import BadInput
    from personalrm.induction.prompt_changes import compare_prompts
    from personalrm.store.reading import PeopleReader

    people = PeopleReader(options.home, options.database)
    numbers = [version.number for version in people.versions(options.user)]
    if options.before is None and len(numbers) < 2:
        raise BadInput(
            f"user {options.user!r} has one version, {numbers[0]}, and nothing to compare it with; fit new pairs first"
        )
    before = numbers[-2] if options.before is None else options.before
    after = numbers[-1] if options.after is None else options.after
    changes = compare_prompts(people.load(options.user, before), people.load(options.user, after))
    if options.json:
        print_json({"user_id": options.user, "before": before, "after": after} | changes.as_json())
    else:
        print(bold(options.user) + f"  version {before} -> {after}")
        _print_changes(changes)
    return 0


def _print_changes(changes: PromptChanges) -> None:
    """The changes for people to read."""
    before, after = changes.n_pairs
    print(f"  pairs {before} -> {after} (+{changes.pairs_added}, -{changes.pairs_removed})")
    if changes.is_empty:
        print("  nothing changed")
    for sentence in changes.sentences:
        _print_sentence(sentence)
    old, new = changes.drift
    if new is not None and new != old:
        print_wrapped(f"drift: {new.line()}", "  ")
    elif old is not None and new is None:
        print_wrapped(f"drift: no longer found; before, {old.line()}", "  ")
    if changes.weights:
        print("  weights that moved most (scaled units):")
        rows = [(weight.feature, f"{weight.before:+.2f}", f"{weight.after:+.2f}") for weight in changes.weights]
        print_table(("feature", "before", "after"), rows)


def _print_sentence(change: SentenceChange) -> None:
    sign = SIGNS[change.kind]
    how = f"  [{change.adverb[0] or 'no adverb'} -> {change.adverb[1] or 'no adverb'}]" if change.adverb else ""
    if change.kind == "changed":
        print_wrapped(f"{sign} {change.before}", "  ")
        print_wrapped(f"=> {change.after}{how}", "    ")
    else:
        print_wrapped(f"{sign} {change.after or change.before}", "  ")
    for title, ids in (
        ("now for", change.now_for),
        ("now against", change.now_against),
        ("no longer", change.no_longer),
    ):
        if ids and change.kind != "removed":
            more = f" and {len(ids) - MOST_IDS} more" if len(ids) > MOST_IDS else ""
            print_wrapped(f"{title}: {', '.join(ids[:MOST_IDS])}{more}", "      ")
