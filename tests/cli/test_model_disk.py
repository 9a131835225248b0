"""A fit with a model on a full, read-only or damaged disk: one sentence, nothing lost, the same bytes in the end."""

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from tests.fakes.command import ended
from tests.fakes.people import saved
from tests.fakes.server_process import ServerProcess

from personalrm.lm.cache import Cache
from personalrm.store.people import PeopleStore
from personalrm.testing import tiny_pair, write_pairs

pytestmark = pytest.mark.slow
IN_FLIGHT = 4
N_CALLS = 4 * (2 * 6 + 2 * 4 * 2 * 2 + 1)
"""Of four users with six train and two validation pairs, three trials and both orders."""


def mounted(folder, *options):
    """Mounts a file system in memory on a folder, for root only."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a file system can be mounted by root only")


@pytest.fixture(scope="module")
def server():
    with ServerProcess() as running:
        yield running


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.jsonl"
    return write_pairs(
        path, [tiny_pair(f"u{u}", 100 * u + k, likes_long=u % 2 == 0) for u in range(4) for k in range(8)]
    )


@pytest.fixture(scope="module")
def fit(server, people):
    """Fits; gives back code, stderr, server's counts.

    In a process of its own, which keeps no file of a mounted home open, or may write files up to a size only.
    """

    def run_fit(home, most_bytes=None, is_alone=False):
        server.reset()
        command = ["fit", str(people), "--home", str(home), "--model", "fake", "--base-url", server.url]
        command += ["--trials", "3", "--max-in-flight", str(IN_FLIGHT)]
        if not is_alone and most_bytes is None:
            code, _, err = ended(*command)
            return code, err, server.summary()

        def limit():
            if most_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

        done = subprocess.run(
            [sys.executable, "-m", "personalrm", *command],
            preexec_fn=limit,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr, server.summary()

    return run_fit


@pytest.fixture(scope="module")
def whole(fit, tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    assert fit(home)[0] == 0
    return home


@pytest.mark.parametrize("most_bytes", [0, 30_000, 90_000])
def test_a_file_that_may_not_grow_is_one_sentence_and_the_same_command_goes_on(fit, whole, tmp_path, most_bytes):
    code, err, first = fit(tmp_path, most_bytes)
    assert (code in (1, 3), "check the path, the rights and the disk" in err, "Traceback" in err) == (True, True, False)
    with Cache(tmp_path / "cache.sqlite", read_only=True) as cache:
        n_kept = cache.report().n_answers
    assert [int(number) for number in re.findall(r"(\d+) answers? of the model kept", err)] == [n_kept] * (n_kept > 0)
    code, err, again = fit(tmp_path)
    assert (code, saved(tmp_path)) == (0, saved(whole)), err
    assert first["requests"] + again["requests"] <= N_CALLS + IN_FLIGHT


@pytest.mark.parametrize("kilobytes", [8, 40, 120])
def test_a_full_disk_is_one_sentence_and_after_making_room_the_same_command_goes_on(fit, whole, tmp_path, kilobytes):
    home = tmp_path / "small"
    mounted(home, "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")
    try:
        code, err, _ = fit(home, is_alone=True)
        assert (code in (1, 3), "the disk" in err, "Traceback" in err) == (True, True, False)
        assert saved(home).items() <= saved(whole).items()
        assert subprocess.run(["mount", "-o", "remount,size=10m", str(home)], check=False).returncode == 0
        assert (fit(home, is_alone=True)[0], saved(home)) == (0, saved(whole))
    finally:
        subprocess.run(["umount", str(home)], check=False)


def test_a_read_only_home_is_refused_before_anything_is_asked_and_can_be_read(run, fit, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "home")
    people = PeopleStore(tmp_path / "home")
    people.delete(people.user_ids()[0])
    people.close()
    if os.geteuid() == 0:
        mounted(tmp_path / "home", "--bind", "-o", "ro", str(tmp_path / "home"))
    else:
        (tmp_path / "home").chmod(0o555)
    try:
        code, err, counts = fit(tmp_path / "home", is_alone=True)
        assert (code, counts["requests"], "cannot be used" in err, "Traceback" in err) == (3, 0, True, False)
        assert run("export", "--home", tmp_path / "home")[1].count('"prompt"') == 3
    finally:
        if os.geteuid() == 0:
            # Lazily: the export in this process may hold the database open a little longer.
            subprocess.run(["umount", "--lazy", str(tmp_path / "home")], check=False)
        else:
            (tmp_path / "home").chmod(0o755)


@pytest.fixture
def with_cache(whole, tmp_path):
    """A home without prompts but with the cache of a whole fit."""
    shutil.copy(whole / "cache.sqlite", tmp_path / "cache.sqlite")
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"this is not a cache " * 500,
        lambda content: content[1:],
        lambda content: b"\xff" * 4000 + content[4000:],
        lambda content: b"SQLite format 3\0" + content,
        lambda content: b"\0" * len(content),
    ],
)
def test_a_damaged_cache_is_set_aside_and_the_fit_ends_with_the_same_bytes(fit, whole, with_cache, damage):
    path = with_cache / "cache.sqlite"
    path.write_bytes(damaged := damage(path.read_bytes()))
    code, err, _ = fit(with_cache)
    assert (code, saved(with_cache)) == (0, saved(whole)), err
    assert "a damaged cache was set aside" in err
    assert (with_cache / "cache.sqlite.damaged-1").read_bytes() == damaged


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[: len(content) // 2 // 4096 * 4096],
        lambda content: content[:100] + b"\xff" * 4000 + content[4100:],
        lambda content: content[:-4096] + b"\0" * 4096,
    ],
)
def test_of_a_cache_that_is_damaged_inside_only_the_damaged_answers_are_asked_again(fit, whole, with_cache, damage):
    path = with_cache / "cache.sqlite"
    path.write_bytes(damage(path.read_bytes()))
    code, err, counts = fit(with_cache)
    assert (code, saved(with_cache), "Traceback" in err) == (0, saved(whole), False), err
    assert 0 < counts["requests"] <= 0.6 * N_CALLS
    assert (fit(with_cache)[2]["requests"], list(with_cache.glob("*.damaged-*"))) == (0, [])


def test_an_answer_changed_on_disk_is_asked_again_and_never_used(fit, whole, with_cache):
    """A bit that flips inside a text leaves a sound file and sound JSON behind."""
    path = with_cache / "cache.sqlite"
    content = path.read_bytes()
    label = re.compile(rb'(\\"choice\\": \\")(first)')
    path.write_bytes(label.sub(rb"\1f1rst", content, count=1))
    code, err, counts = fit(with_cache)
    assert (code, saved(with_cache), counts["requests"]) == (0, saved(whole), 1), err
    assert "the cache had 1 damaged answer, forgotten and asked again" in err


def test_an_answer_that_stands_under_another_key_is_asked_again(fit, whole, with_cache):
    path = with_cache / "cache.sqlite"
    content = path.read_bytes()
    one, two = (line.split()[1] for line in [line for line in content.split(b"\n") if b" answer " in line][:2])
    path.write_bytes(content.replace(one, b"-" * 32).replace(two, one).replace(b"-" * 32, two))
    code, _, counts = fit(with_cache)
    assert (code, saved(with_cache), counts["requests"]) == (0, saved(whole), 2)


def test_a_cache_of_a_newer_version_is_refused_and_left_alone(fit, with_cache):
    path = with_cache / "cache.sqlite"
    path.write_bytes(path.read_bytes().replace(b"personalrm answers 1", b"personalrm answers 99"))
    before = path.read_bytes()
    code, err, counts = fit(with_cache)
    assert (code, counts["requests"], path.read_bytes() == before) == (1, 0, True)
    assert "has version 99, this personalrm reads up to" in err


def test_a_database_of_somebody_else_is_refused_and_left_alone(fit, tmp_path):
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as db, db:
        db.execute("CREATE TABLE answers (question TEXT, reply TEXT)")
        db.execute("INSERT INTO answers VALUES ('theirs', 'kept')")
    code, err, counts = fit(tmp_path)
    assert (code, counts["requests"], "Traceback" in err) == (1, 0, False)
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as db:
        assert db.execute("SELECT reply FROM answers").fetchall() == [("kept",)]


def test_a_folder_in_place_of_the_cache_is_one_sentence(fit, tmp_path):
    (tmp_path / "cache.sqlite").mkdir()
    code, err, counts = fit(tmp_path)
    assert (code, counts["requests"], "cannot be used" in err) == (1, 0, True)


def test_an_empty_file_in_place_of_the_cache_is_a_new_cache(fit, whole, tmp_path):
    (tmp_path / "cache.sqlite").touch()
    assert (fit(tmp_path)[0], saved(tmp_path)) == (0, saved(whole))
