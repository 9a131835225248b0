import signal
import subprocess
import sys

import pytest

from personalrm.errors import ModelUnavailable, StoreError
from personalrm.lm.batch import Ask, Caller, key_of
from personalrm.lm.cache import Cache, Entry, Unscored
from personalrm.lm.entries import Row
from personalrm.lm.journal import Journal
from personalrm.lm.protocol import Reply, Request, Sampling, Schema, TokenChances, Usage
from personalrm.preferences.messages import Message
from personalrm.testing import ScriptedLM

REPLY = Reply("yes 😀\u2028\n", "stop", Usage(3, 2, 1), (TokenChances("yes", (("yes", -0.1), ("no", -2.5))),), "m")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


def left(path):
    return sorted(file for file in path.parent.iterdir() if ".arrived-" in file.name)


def killed(path, *entries):
    journal = Journal(path)
    for entry in entries:
        journal.add(entry)
    journal.close(everything_moved=False)


def opened(path):
    cache = Cache(path)
    keys = cache.open()
    found = cache.find(sorted(keys))
    cache.close()
    return dict(zip(sorted(keys), found, strict=True))


def ask(text):
    return Ask(lambda: Request((Message("user", text),), user_id="u"), lambda reply: reply.text)


@pytest.mark.parametrize("result", [REPLY, Reply(""), Reply("\ud800 \0 \r\n"), Unscored("a reason\nin lines", 4), None])
def test_a_row_comes_back_from_its_line(result):
    row = Row.of(Entry(b"\n" * 16, "somebody\n", result))
    assert row.line().count(b"\n") == 1
    assert Row.from_line(row.line()[:-1]) == row


@pytest.mark.parametrize(
    "spoil", [lambda x: x[:-1], lambda x: x[1:], lambda x: b"", lambda x: x.replace(b"yes", b"no!")]
)
def test_a_damaged_line_is_nothing(spoil):
    line = Row.of(Entry(b"k", "u", REPLY)).line()[:-1]
    assert Row.from_line(spoil(line)) is None


def test_what_a_killed_process_noted_is_in_the_cache_at_the_next_opening(path):
    killed(path, Entry(b"a" * 16, "u", REPLY), Entry(b"b" * 16, "u", REPLY))
    assert opened(path) == {b"a" * 16: REPLY, b"b" * 16: REPLY}
    assert left(path) == []


def test_an_answer_cut_off_by_a_kill_is_asked_again_and_spoils_no_other(path):
    killed(path, Entry(b"a" * 16, "u", REPLY), Entry(b"b" * 16, "u", REPLY))
    written = next(file for file in left(path) if file.stat().st_size)
    written.write_bytes(written.read_bytes()[:-20] + b"\n" + Row.of(Entry(b"c" * 16, "u", REPLY)).line())
    assert opened(path) == {b"a" * 16: REPLY, b"c" * 16: REPLY}


def test_an_unscored_request_and_a_second_owner_survive_too(path):
    killed(path, Entry(b"a" * 16, "u1", REPLY), Entry(b"a" * 16, "u2", None), Entry(b"b" * 16, "u1", Unscored("no", 3)))
    cache = Cache(path)
    cache.open()
    assert (cache.erase("u1"), cache.find([b"a" * 16]), cache.unscored_keys()) == (0, [REPLY], set())
    cache.close()


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be removed there, which is the lock")
def test_the_journal_of_a_living_process_is_left_alone(path):
    journal = Journal(path)
    journal.add(Entry(b"a" * 16, "u", REPLY))
    assert opened(path) == {}
    assert len(left(path)) == 2
    journal.close(everything_moved=False)
    assert opened(path) == {b"a" * 16: REPLY}


def test_what_was_moved_is_emptied_and_what_came_meanwhile_stays(path):
    journal = Journal(path)
    journal.add(Entry(b"a" * 16, "u", REPLY))
    assert [row.key for row in journal.turn()] == [b"a" * 16]
    journal.add(Entry(b"b" * 16, "u", REPLY))
    journal.moved()
    journal.close(everything_moved=False)
    assert opened(path) == {b"b" * 16: REPLY}


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be used"):
        Journal(tmp_path / "none" / "cache.sqlite").add(Entry(b"a" * 16, "u", REPLY))


def test_a_closed_caller_leaves_no_journal(path):
    with Caller(ScriptedLM(), cache=Cache(path)) as caller:
        caller.ask_all([ask("a"), ask("b")])
    assert left(path) == []
    assert len(opened(path)) == 2


def test_a_cache_in_memory_makes_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Caller(ScriptedLM(), cache=Cache(":memory:")) as caller:
        caller.ask_all([ask("a")])
        assert list(tmp_path.iterdir()) == []


def test_an_answer_is_found_before_it_is_moved(path):
    lm = ScriptedLM()
    with Caller(lm, cache=Cache(path)) as caller:
        assert caller.ask_all([ask("a")])[0].value == caller.ask_all([ask("a")])[0].value
    assert len(lm.requests) == 1


def test_answers_that_cannot_be_moved_stop_the_run_and_are_not_lost(path):
    class FullCache(Cache):
        def keep_rows(self, rows):
            raise StoreError("cache is full")

    with Caller(ScriptedLM(), cache=FullCache(path)) as caller:
        assert caller.ask_all([ask("a")])[0].value
    assert isinstance(caller.stopped, ModelUnavailable)
    assert len(opened(path)) == 1


@pytest.mark.slow
def test_an_answer_that_was_handed_out_survives_a_kill(path):
    script = (
        "import os, signal, sys; from personalrm.lm.batch import *; from personalrm.lm.protocol import Request\n"
        "from personalrm.testing import ScriptedLM\n"
        "caller = Caller(ScriptedLM(), cache=Cache(sys.argv[1]))\n"
        "asks = [Ask(lambda k=k: Request((Message('user', str(k)),)), lambda r: r.text) for k in range(50)]\n"
        "assert all(one.value for one in caller.ask_all(asks))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGKILL
    assert len(opened(path)) == 50
    assert left(path) == []


def test_keys_are_those_of_earlier_versions_so_that_nothing_is_paid_again():
    request = Request(
        (Message("system", "s"), Message("user", "ü😀")), Sampling(0.5, 7, 3, 2), Schema("n", {"type": "object"})
    )
    assert key_of('["t"]', request).hex() == "d278a18ade8a9838ae4c5b737669289b"
    assert key_of("i", Request((Message("user", "hello"),))).hex() == "4e3bd99ccf377685ce745c648d6d2bff"
