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
PEAK = (
    "import sys; from personalrm.cli import main; main(sys.argv[1:])\n"
    "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
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
    """The least of five walls in seconds, and of five times of CPU, which other programs disturb less."""
    walls, cpu = [], []
    for _ in range(5):
        began, before = time.monotonic(), spent_s()
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
        walls.append(time.monotonic() - began)
        cpu.append(spent_s() - before)
    return min(walls), min(cpu)


def spent_s() -> float:
    """CPU of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mb(*command: str) -> float:
    """What the command line took at most; asked in the process, since Linux counts a parent's memory as a child's."""
    done = subprocess.run([sys.executable, "-c", PEAK, *command], capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-2]) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saved_a_second = fill(folder)
        home = folder / "home"
        user_id = "saved-7"
        at = ("-m", "personalrm")
        shown = {
            "show (target 0.6)": (*at, "show", user_id, "--home", str(home)),
            "history (target 0.6)": (*at, "history", user_id, "--home", str(home)),
            "users, the first 1,000 (target 0.6)": (*at, "users", "--home", str(home)),
            "importing SQLAlchemy, for comparison": ("-c", "import sqlalchemy"),
            "starting Python, for comparison": ("-c", "pass"),
        }
        rows: dict[str, object] = {"people": N_PEOPLE}
        for which, command in shown.items():
            rows[f"s, {which}"], rows[f"s of CPU, {which}"] = timed(*command)
        rows["peak MB, show"] = peak_mb("show", user_id, "--home", str(home))
        rows["s, users --all"], _ = timed(*at, "users", "--all", "--home", str(home))
        rows["peak MB, users --all"] = peak_mb("users", "--all", "--home", str(home))
        rows["s, bare sqlite3 printing the same list"], _ = timed("-c", BARE, str(home / "people.db"))
        size = (home / "people.db").stat().st_size
        rows |= {"MB on disk": size / 1e6, "KB on disk a person": size / 1e3 / N_PEOPLE}
        rows["saved a second, with choices"] = saved_a_second
        for which in ("the first after a bulk load", "another"):
            began, before = time.monotonic(), spent_s()
            gone = user_id if which == "another" else "saved-8"
            subprocess.run([sys.executable, *at, "delete", gone, "--yes", "--home", str(home)], check=True)
            rows |= {f"s, delete, {which}": time.monotonic() - began, f"s of CPU, delete, {which}": spent_s() - before}
        show("people of a home", rows)


if __name__ == "__main__":
    main()
