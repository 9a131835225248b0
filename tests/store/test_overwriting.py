"""What is left of erased rows in a file of SQLite, looked for byte by byte after all that makes SQLite move cells."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from personalrm.errors import UnknownUser
from personalrm.home.erasing import erase_person, is_anywhere
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.store.overwriting import overwrite_gaps
from personalrm.store.people import PeopleStore
from personalrm.store.records import StoredPair
from personalrm.testing import tiny_users

ERASED = b"SECRET"


def connect(path):
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA secure_delete=ON")
    return database


def churned(path, seed, page_bytes=4096, n=1500):
    """A database after insertions, changes and deletions in random order and size, then without all that holds `ERASED`."""
    chance = random.Random(seed)
    database = connect(path)
    database.execute(f"PRAGMA page_size={page_bytes}")
    database.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    database.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, name TEXT UNIQUE, text TEXT, n INTEGER)")
    database.execute("CREATE TABLE words (name TEXT, word TEXT, PRIMARY KEY (name, word)) WITHOUT ROWID")
    database.execute("CREATE INDEX listed ON texts (text, name)")
    database.execute("BEGIN")
    names = []
    for number in range(n):
        kind = "SECRET" if chance.random() < 0.2 else "public"
        name = f"{chance.random()}-{kind}-{number}"
        text = f"{kind}{number} " * chance.choice((1, 3, 20, 60, 900))
        database.execute("INSERT INTO texts VALUES (?, ?, ?, 2)", (chance.randrange(10**9), name, text))
        database.execute("INSERT INTO words VALUES (?, ?)", (name, text[:300]))
        names.append(name)
        if chance.random() < 0.3:
            changed = chance.choice(names)
            text = f"{changed.split('-')[1]} again " * chance.choice((1, 9, 50, 700))
            database.execute("UPDATE texts SET text = ? WHERE name = ?", (text, changed))
        if chance.random() < 0.2:
            gone = names.pop(chance.randrange(len(names)))
            for table in ("texts", "words"):
                database.execute(f"DELETE FROM {table} WHERE name = ?", (gone,))
    for table in ("texts", "words"):
        database.execute(f"DELETE FROM {table} WHERE name LIKE '%SECRET%'")
    database.execute("COMMIT")
    database.close()


def content(path):
    database = connect(path)
    sound = database.execute("PRAGMA integrity_check").fetchall()
    rows = [database.execute(f"SELECT * FROM {table} ORDER BY name").fetchall() for table in ("texts", "words")]
    database.close()
    return sound, rows


@pytest.mark.parametrize("page_bytes", [512, 1024, 4096, 65536])
@pytest.mark.parametrize("seed", range(3))
def test_no_byte_of_what_was_erased_is_left_and_everything_else_is(tmp_path, page_bytes, seed):
    path = tmp_path / "some.db"
    churned(path, seed, page_bytes)
    before, n_left = content(path), path.read_bytes().count(ERASED)
    assert before[0] == [("ok",)]
    assert n_left or page_bytes == 65536, "SQLite has left no copy; the test shows nothing"
    assert overwrite_gaps(path, 5.0)
    assert (content(path), ERASED in path.read_bytes()) == (before, False)


def test_a_kill_at_any_moment_leaves_a_sound_database_that_says_the_same(tmp_path):
    path = tmp_path / "some.db"
    code = (
        "import sys, pathlib; from personalrm.store import overwriting\n"
        "print('begins', flush=True); overwriting.overwrite_gaps(pathlib.Path(sys.argv[1]), 5.0)"
    )
    chance, n_killed = random.Random(0), 0
    for seed in range(6):
        path.unlink(missing_ok=True)
        churned(path, seed, n=3000)
        before = content(path)
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(chance.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert content(path) == before
        assert overwrite_gaps(path, 5.0)
        assert (content(path), ERASED in path.read_bytes()) == (before, False)
    assert n_killed


def test_a_process_that_remembers_pages_does_not_write_back_what_was_overwritten(tmp_path):
    path = tmp_path / "some.db"
    churned(path, 1)
    other = connect(path)
    other.execute("PRAGMA cache_size=100000")
    assert other.execute("SELECT min(n) FROM texts").fetchone() == (2,)
    assert overwrite_gaps(path, 5.0)
    other.execute("UPDATE texts SET n = 3")  # as long as before: every page of the table is written as it is remembered
    other.close()
    assert ERASED not in path.read_bytes()


def test_who_reads_is_waited_for_and_a_thread_keeps_its_lock(tmp_path):
    """To close a handle of a file drops all locks of the process on it, on the systems that POSIX describes."""
    path = tmp_path / "some.db"
    churned(path, 2)
    other = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM texts").fetchone()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        overwrite_gaps(path, 0.05)
    other.execute("COMMIT")
    held = []

    def write():
        for _ in range(30):
            other.execute("BEGIN IMMEDIATE")
            tried = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
            done = subprocess.run([sys.executable, "-c", tried, str(path)], capture_output=True, check=False)
            held.append(b"locked" in done.stderr)
            other.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        overwrite_gaps(path, 5.0)
    writer.join()
    other.close()
    assert held == [True] * 30


@pytest.mark.parametrize("pragma", ["auto_vacuum=FULL", "auto_vacuum=INCREMENTAL"])
def test_a_file_of_another_layout_is_left_as_it_is(tmp_path, pragma):
    path = tmp_path / "some.db"
    database = connect(path)
    database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    database.close()
    before = path.read_bytes()
    assert (overwrite_gaps(path, 5.0), path.read_bytes()) == (False, before)


def test_a_page_that_cannot_be_read_is_left_as_it_is(tmp_path):
    path = tmp_path / "some.db"
    churned(path, 3)
    bad = b"\x0d\0\0\0\x01\x0f\x00\0" + b"\0\x20" + b"x" * 4086  # a cell in the middle of the gap
    with path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(bad)
    assert not overwrite_gaps(path, 5.0)
    assert path.read_bytes()[4 * 4096 : 5 * 4096] == bad


def test_what_a_kill_left_to_be_overwritten_is_found_by_the_same_command_and_done_by_it_or_the_next_write(tmp_path):
    """The rows are gone then, and with them all that says whose they were."""
    code = (
        "import os, sys; from personalrm.store import database; from personalrm.store.people import PeopleStore\n"
        "database.overwrite_gaps = lambda *_: os._exit(9)\n"
        "PeopleStore(sys.argv[1]).delete('u1')"
    )
    for finish in (lambda store: erase_person(store, "u1"), lambda store: store.save(PersonalPrompt("u9", Persona()))):
        people = PeopleStore(tmp_path)
        for user in tiny_users(6):
            people.add_pairs(user.user_id, [StoredPair(pair) for pair in user])
        assert not people.is_erasing_left()
        people.close()
        assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
        assert (people.knows("u1"), people.is_erasing_left(), is_anywhere(people, "u1")) == (False, True, True)
        finish(people)
        assert (people.is_erasing_left(), people.knows("u1"), is_anywhere(people, "u1")) == (False, False, False)
        with pytest.raises(UnknownUser):
            erase_person(people, "u1")
        people.close()


def test_a_file_that_is_mostly_empty_becomes_smaller(tmp_path):
    people = PeopleStore(tmp_path)
    for user in tiny_users(30):
        people.add_pairs(user.user_id, [StoredPair(pair) for pair in user])
    sizes = []
    for number in range(28):
        people.delete(f"u{number}")
        sizes.append((tmp_path / "people.db").stat().st_size)
    people.close()
    assert (sizes[0] == sizes[5], sizes[-1] < sizes[0] / 1.5) == (True, True)
