"""What a home holds of people, as values that can be compared, and damage to it."""

import sqlite3
from pathlib import Path

from personalrm.store.people import PeopleStore


def saved(home):
    """Every stored choice and version of a home, by whose it is and which, without dates."""
    people = PeopleStore(home)
    lines = list(people.export())
    people.close()
    numbered = {}
    for line in lines:
        which = f"v{line['version']}" if "version" in line else repr(sorted(line.items(), key=str))
        numbered[line["user_id"], which] = line
    return numbered


def versions(home):
    """The prompts among what is saved, by user id and number."""
    return {key: line["prompt"] for key, line in saved(home).items() if "prompt" in line}


def damage(home, user_id, number=1, content="{"):
    """Put something else in the place of a version."""
    with sqlite3.connect(Path(home) / "people.db") as database:
        done = database.execute(
            "UPDATE prompts SET content = ? WHERE number = ? AND person_id IN (SELECT id FROM people WHERE user_id = ?)",
            (content, number, user_id),
        )
        assert done.rowcount == 1


def remove(home, user_id, number):
    """Take a version out, as nothing of ours does."""
    with sqlite3.connect(Path(home) / "people.db") as database:
        done = database.execute(
            "DELETE FROM prompts WHERE number = ? AND person_id IN (SELECT id FROM people WHERE user_id = ?)",
            (number, user_id),
        )
        assert done.rowcount == 1
