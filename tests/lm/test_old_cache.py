"""Caches of earlier versions: an SQLite file, written here statement by statement as they did, and their journals."""

import fcntl
import hashlib
import json
import sqlite3
import zlib
from contextlib import closing

import pytest

from personalrm.errors import NewerVersion, StoreError
from personalrm.lm.cache import Cache, Unscored, owner_of
from personalrm.lm.protocol import Reply, TokenChances, Usage

REPLY = Reply("yes 😀\u2028\n", "stop", Usage(3, 2, 1), (TokenChances("yes", (("yes", -0.1), ("no", -2.5))),), "m")
TEXT = json.dumps(
    {
        "text": "yes 😀\u2028\n",
        "finish_reason": "stop",
        "model": "m",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 1},
        "tokens": [["yes", [["yes", -0.1], ["no", -2.5]]]],
    }
)
A, B, C, D = b"a" * 16, b"b" * 16, b"c" * 16, b"d" * 16
TABLES = """
PRAGMA journal_mode = TRUNCATE;
CREATE TABLE answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE owners (owner BLOB NOT NULL, key BLOB NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX owners_by_key ON owners (key);
CREATE TABLE unscored (key BLOB PRIMARY KEY, reason TEXT NOT NULL, attempts INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def sealed(key):
    return hashlib.blake2b(TEXT.encode(), key=key, digest_size=8).hexdigest() + TEXT


def journal_line(key, user, kind="answer", text=TEXT):
    body = f"{key.hex()} {owner_of(user).hex()} {kind} {text}".encode()
    return b"\n%08x %b\n" % (zlib.crc32(body), body)


@pytest.fixture
def path(tmp_path):
    """A for u1 and u2, B for u1 but changed on disk, C without an answer."""
    path = tmp_path / "cache.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(TABLES)
        db.executemany("INSERT INTO answers VALUES (?, ?)", [(A, sealed(A)), (B, sealed(A))])
        db.executemany(
            "INSERT INTO owners VALUES (?, ?)", [(owner_of(u), k) for u, k in (("u1", A), ("u2", A), ("u1", B))]
        )
        db.execute("INSERT INTO owners VALUES (?, ?)", (owner_of("u2"), C))
        db.execute("INSERT INTO unscored VALUES (?, ?, ?)", (C, "refusal", 4))
    return path


def found(path, *keys, **options):
    with Cache(path, **options) as cache:
        return [cache.find(key) for key in keys]


@pytest.mark.parametrize("read_only", [True, False])
def test_every_sound_answer_of_an_old_cache_is_found(path, read_only):
    before = path.read_bytes()
    with Cache(path, read_only=read_only) as cache:
        assert [cache.find(key) for key in (A, B, C)] == [REPLY, None, Unscored("refusal", 4)]
        assert (cache.n_damaged, cache.set_aside) == (1, None)
        report = cache.report()
        assert (report.n_answers, report.n_unscored, report.n_owners) == (1, 1, 2)
    assert (path.read_bytes() == before) is read_only
    assert found(path, A, B, C) == [REPLY, None, Unscored("refusal", 4)]
    assert [file.name for file in path.parent.iterdir() if not read_only] in ([], ["cache.sqlite"])


def test_owners_of_an_old_cache_stay(path):
    with Cache(path) as cache:
        assert (cache.owned_by("u1"), cache.erase("u1"), cache.find(A)) == ([json.loads(TEXT)], 0, REPLY)
        assert (cache.erase("u2"), cache.find(A)) == (1, None)


def test_what_a_killed_process_of_an_earlier_version_left_is_taken_up(path):
    journal = path.with_name(path.name + ".arrived-0123456789abcdef")
    journal.write_bytes(
        journal_line(D, "u1") + journal_line(D, "u2", "owner", "") + journal_line(b"e" * 16, "u1")[:-30]
    )
    with Cache(path) as cache:
        assert [cache.find(D), cache.find(b"e" * 16)] == [REPLY, None]
        assert (journal.exists(), cache.owns("u2"), cache.erase("u1"), cache.find(D)) == (False, True, 0, REPLY)


def test_the_journal_of_a_living_process_is_left_alone(path):
    journal = path.with_name(path.name + ".arrived-0123456789abcdef")
    journal.write_bytes(journal_line(D, "u1"))
    with journal.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        assert (found(path, D), journal.exists()) == ([None], True)
    assert found(path, D) == [REPLY]


def test_nothing_of_the_old_file_is_left_beside_the_new_one(path):
    path.with_name(path.name + "-journal").write_bytes(b"")
    path.with_name(path.name + ".new").write_bytes(b"half of a conversion that was killed")
    found(path, A)
    assert [file.name for file in path.parent.iterdir()] == ["cache.sqlite"]
    assert b"SQLite" not in path.read_bytes()


def test_a_damaged_old_cache_is_set_aside(path):
    path.write_bytes(content := path.read_bytes()[:8192])
    with Cache(path) as cache:
        assert (cache.find(A), cache.set_aside.read_bytes()) == (None, content)


@pytest.mark.parametrize("read_only", [True, False])
def test_an_old_cache_of_a_newer_version_is_refused_and_left_alone(path, read_only):
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(NewerVersion, match="version 99"):
        found(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE answers (question TEXT, reply TEXT)", "CREATE TABLE theirs (a TEXT)"],
)
def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path, statement):
    path = tmp_path / "cache.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    before = path.read_bytes()
    with pytest.raises(StoreError):
        found(path)
    assert (path.read_bytes() == before, len(list(tmp_path.iterdir()))) == (True, 1)
