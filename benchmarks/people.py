"""The store of people at scale: `users`, `show` and `history` with start-up, size on disk, memory, saving, erasing.

People are copies of those that ship, each with their choices and one prompt. The peer is the standard library's sqlite3
on the same file: what a list costs that does nothing but read the same rows and print them. Target: each command in
under 0.6 s with 100,000 people.
"""

import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from _table import show

from personalrm import Home, example_users
from personalrm.store.people import PeopleStore
from personalrm.store.records import Learned

N_PEOPLE = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
N_SAVED = 1_000
"""People that are saved as a fit does; the rest is copied row by row, since only reading depends on their number."""
BARE = (
    "import sqlite3, sys\n"
    "rows = sqlite3.connect(sys.argv[1]).execute('SELECT user_id, number, date, n_pairs, n_sentences, engine "
    "FROM people JOIN prompts ON person_id = people.id ORDER BY user_id, number')\n"
    "sys.stdout.writelines('%s %s %s %s %s %s\\n' % row for row in rows)"
)


def fill(folder: Path) -> float:
    """Make the people; returns how many a second a fit saves, with their choices, 64 in a transaction."""
    with Home(folder / "few") as few:
        for user in example_users():
            few.add(user)
        few.fit()
        known = [(few.person(user.user_id).prompt, list(user)) for user in example_users()]
    people = PeopleStore(folder / "home")
    learned = []
    for number in range(N_SAVED):
        prompt, pairs = known[number % len(known)]
        owned = [replace(pair, user_id=f"saved-{number}") for pair in pairs]
        roles = dict(zip((pair.hash for pair in owned), prompt.roles.values(), strict=True))
        learned.append(Learned(replace(prompt, user_id=owned[0].user_id, demonstrations=(), roles=roles), owned))
    began = time.monotonic()
    for start in range(0, N_SAVED, 64):
        people.save_fitted(learned[start : start + 64], since=0)
    saved_a_second = N_SAVED / (time.monotonic() - began)
    people.close()
    with sqlite3.connect(folder / "home" / "people.db") as database:
        columns = {
            "pairs": "hash, pair_id, is_hidden, date, reason, content",
            "prompts": "number, date, n_pairs, n_sentences, engine, content",
        }
        for start in range(N_SAVED, N_PEOPLE, N_SAVED):
            database.execute(
                "INSERT INTO people SELECT id + ?, 'copied-' || (id + ?) FROM people WHERE id <= ?",
                (start, start, min(N_SAVED, N_PEOPLE - start)),
            )
            for table, names in columns.items():
                database.execute(
                    f"INSERT INTO {table} (person_id, {names}) SELECT person_id + ?, {names} FROM {table} "
                    "WHERE person_id <= ?",
                    (start, min(N_SAVED, N_PEOPLE - start)),
                )
    return saved_a_second


def timed(*command: str) -> tuple[float, float]:
    """The best of three walls in seconds, and the peak in MB of all children so far."""
    walls = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
        walls.append(time.monotonic() - began)
    return min(walls), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved_a_second = fill(folder)
        home = folder / "home"
        user_id = "saved-7"
        at = ("-m", "personalrm")
        show_s, show_mb = timed(*at, "show", user_id, "--home", str(home))
        history_s, _ = timed(*at, "history", user_id, "--home", str(home))
        bare_s, _ = timed("-c", BARE, str(home / "people.db"))
        users_s, _ = timed(*at, "users", "--home", str(home))
        all_s, users_mb = timed(*at, "users", "--all", "--home", str(home))
        size = (home / "people.db").stat().st_size
        began = time.monotonic()
        subprocess.run([sys.executable, *at, "delete", user_id, "--yes", "--home", str(home)], check=True)
        delete_s = time.monotonic() - began
        show(
            "people of a home",
            {
                "people": N_PEOPLE,
                "s, show (target 0.6)": show_s,
                "s, history (target 0.6)": history_s,
                "s, users, the first 1,000 (target 0.6)": users_s,
                "s, users --all": all_s,
                "s, bare sqlite3 printing the same list": bare_s,
                "users --all / bare": all_s / bare_s,
                "peak MB, show": show_mb,
                "peak MB, users --all": users_mb,
                "MB on disk": size / 1e6,
                "KB on disk a person": size / 1e3 / N_PEOPLE,
                "saved a second, with choices": saved_a_second,
                "s, delete": delete_s,
            },
        )


if __name__ == "__main__":
    main()
