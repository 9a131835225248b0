import random
import signal
import subprocess
import sys

import pytest

from personalrm.errors import ModelUnavailable, NewerVersion, StoreError
from personalrm.lm.batch import Ask, Caller, key_of
from personalrm.lm.cache import HEADER, Cache, Line, LineIndex, Unscored, owner_of
from personalrm.lm.protocol import Reply, Request, Sampling, Schema, TokenChances, Usage
from personalrm.preferences.messages import Message
from personalrm.testing import ScriptedLM

REPLY = Reply("yes 😀\u2028\n", "stop", Usage(3, 2, 1), (TokenChances("yes", (("yes", -0.1), ("no", -2.5))),), "m")
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


@pytest.fixture
def cache(path):
    with Cache(path) as opened:
        yield opened


def found(path, *keys, **options):
    with Cache(path, **options) as cache:
        return [cache.find(key) for key in keys]


def ask(text):
    return Ask(lambda: Request((Message("user", text),), user_id="u"), lambda reply: reply.text)


def everything_in(folder):
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.mark.parametrize("result", [REPLY, Reply(""), Reply("\ud800 \0 \r\n"), Unscored("a reason\nin lines", 4)])
def test_a_result_comes_back_as_it_went_in(cache, path, result):
    cache.keep(A, "somebody\n", result)
    assert [cache.find(A), *found(path, A, B), *found(path, A, read_only=True)] == [result, result, None, result]


@pytest.mark.parametrize(
    "spoil", [lambda x: x[:-1], lambda x: x[1:], lambda x: b"", lambda x: x.replace(b"yes", b"no!")]
)
def test_a_damaged_line_is_nothing(spoil):
    line = Line.of(A, "u", REPLY).as_bytes()
    assert (Line.from_bytes(line).result(), Line.from_bytes(spoil(line))) == (REPLY, None)


def test_an_answer_changed_on_disk_is_not_used_and_replaced_by_the_next(path):
    with Cache(path) as cache:
        cache.keep(A, "u", REPLY)
    path.write_bytes(path.read_bytes().replace(b"yes", b"no!"))
    with Cache(path) as cache:
        assert (cache.find(A), cache.n_damaged) == (None, 1)
        cache.keep(A, "u", REPLY)
        assert (cache.find(A), cache.n_damaged) == (REPLY, 1)


def test_an_answer_under_another_key_is_not_used(path):
    with Cache(path) as cache:
        cache.keep(A, "u", REPLY)
    path.write_bytes(path.read_bytes().replace(A.hex().encode(), B.hex().encode()))
    assert found(path, A, B) == [None, None]


def test_a_line_cut_short_by_a_kill_spoils_no_other(path):
    for key, n_cut in ((A, 20), (B, 1), (C, 0)):
        with Cache(path) as cache:
            cache.keep(key, "u", REPLY)
        path.write_bytes(path.read_bytes()[: path.stat().st_size - n_cut])
    assert found(path, A, B, C) == [None, REPLY, REPLY]


def test_a_long_answer_comes_back(cache, path):
    cache.keep(A, "u", Reply("x" * 5_000_000))
    cache.keep(B, "u", REPLY)
    assert [len(reply.text) for reply in found(path, A, B)] == [5_000_000, len(REPLY.text)]


def test_an_answer_replaces_an_earlier_failure_and_no_failure_an_answer(cache):
    cache.keep(A, "u1", Unscored("refusal", 4))
    assert cache.find(A) == Unscored("refusal", 4)
    cache.keep(A, "u1", REPLY)
    cache.keep(A, "u1", Unscored("refusal", 4))
    assert (cache.find(A), cache.report().n_answers, cache.report().n_unscored) == (REPLY, 1, 0)


def test_only_failures_from_before_the_opening_are_tried_again(path):
    with Cache(path) as cache:
        cache.keep(A, "u", Unscored("refusal", 4))
    cache.open(retry_unscored=True)
    assert cache.find(A) is None
    cache.keep(A, "u", Unscored("too long", 1))
    assert cache.find(A) == Unscored("too long", 1)
    cache.close()


def test_what_another_process_appends_is_found(path):
    with Cache(path) as one, Cache(path) as other:
        one.keep(A, "u", REPLY)
        other.keep(B, "u", REPLY)
        one.keep(C, "u", REPLY)
        assert [cache.find(key) for cache in (one, other) for key in (A, B, C)] == [REPLY] * 6


def test_opening_a_cache_without_answers_does_not_take_the_first_one_of_another_process(path):
    with Cache(path) as one:

        class SlowCache(Cache):
            def _is_ours(self, beginning):
                one.keep(A, "u", REPLY)
                return super()._is_ours(beginning)

        with SlowCache(path) as other:
            assert other.find(A) == REPLY


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_damaged_nothing_fails_and_no_wrong_answer_is_found(path, seed):
    keys = [bytes([k]) * 16 for k in range(40)]
    with Cache(path) as cache:
        for key in keys:
            cache.keep(key, "u", Reply(key.hex()))
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(20):
        content[chance.randrange(len(HEADER), len(content))] = chance.choice([*b"\n -_ou0", *chance.randbytes(2)])
    path.write_bytes(content)
    with Cache(path) as cache:
        replies = [cache.find(key) for key in keys]
        assert all(reply in (None, Reply(key.hex())) for key, reply in zip(keys, replies, strict=True))
        assert cache.erase("u") >= 20
    assert set(path.read_bytes()[len(HEADER) :]) <= set(b" \n")


def test_of_two_that_want_to_ask_the_same_only_one_may(path):
    with Cache(path) as one, Cache(path) as other:
        assert (one.claim(A), other.claim(A), other.claim(B)) == (True, False, True)
        one.release(A)
        assert other.claim(A)


def test_the_claim_of_a_dead_process_is_free_at_once(path):
    script = (
        "import sys; from personalrm.lm.cache import Cache; cache = Cache(sys.argv[1]); cache.open()\n"
        "assert cache.claim(b'a' * 16); print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process, Cache(path) as cache:
        assert process.stdout.readline() == b"claimed\n"
        assert not cache.claim(A)
        process.kill()
        process.wait()
        assert cache.claim(A)


def test_two_callers_on_one_cache_pay_for_each_answer_once(path):
    lms = [ScriptedLM(latency_s=0.02), ScriptedLM(latency_s=0.02)]
    asks = [ask(str(k)) for k in range(60)]
    with Caller(lms[0], cache=Cache(path)) as one, Caller(lms[1], cache=Cache(path)) as other:
        other.start(asks, lambda outcomes: None)
        values = [outcome.value for outcome in one.ask_all(asks)]
        assert values == [outcome.value for outcome in other.ask_all(asks)]
    assert sum(len(lm.requests) for lm in lms) == 60


def test_erasing_a_user_leaves_what_others_asked_too(cache):
    cache.keep(A, "u1", REPLY)
    cache.keep(B, "u1", REPLY)
    assert cache.find(B, user_id="u2") == REPLY
    assert (cache.erase("u1"), cache.find(A), cache.find(B)) == (1, None, REPLY)
    assert (cache.owns("u1"), cache.owned_by("u2")[0]["text"]) == (False, REPLY.text)
    assert (cache.erase("u2"), cache.report().n_answers, cache.n_damaged) == (1, 0, 0)


def test_an_owner_is_noted_once(cache, path):
    cache.keep(A, "u1", REPLY)
    cache.find(A, user_id="u2")
    before = path.stat().st_size
    for user in ("u1", "u2"):
        cache.find(A, user_id=user)
    found(path, A)
    with Cache(path) as again:
        again.find(A, user_id="u2")
    assert path.stat().st_size == before


def test_no_byte_of_an_erased_user_is_left_in_any_file(path):
    """Also not of a line cut short, a line that was changed on disk, or a damaged file that was set aside."""
    with Cache(path) as cache:
        for key, user in ((A, "u1"), (B, "u1"), (C, "u2")):
            cache.keep(key, user, Reply(f"a secret of {user}"))
    cut = Line.of(b"d" * 16, "u1", Reply("a secret of u1")).as_bytes()
    path.write_bytes(path.read_bytes().replace(b"secret of u1", b"secret OF u1", 1) + b"\n" + cut[:-9])
    path.with_name(path.name + ".damaged-1").write_bytes(b"a secret of u1")
    with Cache(path) as other, Cache(path) as cache:
        assert cache.erase("u1") == 1
        other.keep(b"e" * 16, "u2", REPLY)
        assert [cache.find(key) for key in (A, B, C, b"e" * 16)] == [None, None, Reply("a secret of u2"), REPLY]
        assert other.find(B) is None
    left = everything_in(path.parent)
    assert (b"of u1" in left.lower(), owner_of("u1").hex().encode() in left) == (False, False)
    assert b"of u2" in left


def test_an_erased_cache_can_be_used_on(cache, path):
    cache.keep(A, "u1", REPLY)
    cache.erase("u1")
    cache.keep(A, "u1", REPLY)
    assert (cache.find(A), found(path, A)) == (REPLY, [REPLY])


def test_clearing_forgets_everything_for_other_processes_too(path):
    with Cache(path) as cache, Cache(path) as other:
        cache.keep(A, "u", REPLY)
        assert other.find(A) == REPLY
        path.with_name(path.name + ".damaged-1").write_bytes(b"something")
        assert (cache.clear(), other.find(A)) == (1, None)
        other.keep(B, "u", REPLY)
        assert (cache.find(A), cache.find(B)) == (None, REPLY)
    assert (path.read_bytes().startswith(HEADER), len(list(path.parent.iterdir()))) == (True, 1)


def test_user_ids_are_not_in_the_file_and_others_cannot_read_it(cache, path):
    cache.keep(A, "somebody-in-particular", REPLY)
    assert b"somebody-in-particular" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_report_counts_what_is_found_and_not_what_was_replaced(cache, path):
    for key, user in ((A, "u1"), (A, "u1"), (B, "u2")):
        cache.keep(key, user, REPLY)
    cache.keep(C, "u2", Unscored("refusal", 1))
    report = cache.report()
    assert (report.n_answers, report.n_unscored, report.n_owners, report.by_model) == (2, 1, 2, (("m", 2),))
    assert report.n_bytes == path.stat().st_size


@pytest.mark.parametrize("content", [b"not a cache at all" * 100, b"SQLite format 3\0" + b"\1" * 5000])
def test_a_damaged_file_is_set_aside_not_lost(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        found(path, A, read_only=True)
    with Cache(path) as cache:
        cache.keep(A, "u", REPLY)
        assert cache.set_aside.read_bytes() == content
    assert found(path, A) == [REPLY]


@pytest.mark.parametrize("n", range(len(HEADER) + 1))
def test_a_file_whose_first_writer_was_killed_is_begun_anew(path, n):
    path.write_bytes(HEADER[:n])
    with Cache(path) as cache:
        cache.keep(A, "u", REPLY)
        assert cache.set_aside is None
    assert found(path, A) == [REPLY]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_file_is_refused_and_left_alone(path, read_only):
    path.write_bytes(b"personalrm answers 99\nsomething")
    with pytest.raises(NewerVersion, match="version 99"):
        found(path, read_only=read_only)
    assert path.read_bytes() == b"personalrm answers 99\nsomething"


def test_a_folder_in_its_place_is_one_sentence(tmp_path):
    with pytest.raises(StoreError, match="cannot be used"):
        Cache(tmp_path).open()


def test_reading_only_makes_no_file(path):
    assert (found(path, A, read_only=True), path.exists()) == ([None], False)


def test_a_cache_in_memory_makes_no_files_and_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lm = ScriptedLM()
    with Caller(lm, cache=Cache(":memory:")) as caller:
        for _ in range(2):
            assert all(outcome.value for outcome in caller.ask_all([ask("a"), ask("b")]))
    assert (len(lm.requests), list(tmp_path.iterdir())) == (2, [])


def test_an_answer_that_cannot_be_kept_stops_the_run(path):
    class FullCache(Cache):
        def keep(self, key, user_id, result):
            raise StoreError("cache is full")

    with Caller(ScriptedLM(), cache=FullCache(path)) as caller:
        assert caller.ask_all([ask("a")])[0].is_stopped
        assert isinstance(caller.stopped, ModelUnavailable)


@pytest.mark.slow
def test_an_answer_that_was_handed_out_survives_a_kill(path):
    script = (
        "import os, signal, sys; from personalrm.lm.batch import *; from personalrm.lm.protocol import Request\n"
        "from personalrm.testing import ScriptedLM\n"
        "caller = Caller(ScriptedLM(), cache=Cache(sys.argv[1]))\n"
        "asks = [Ask(lambda k=k: Request((Message('user', str(k)),)), lambda r: r.text) for k in range(50)]\n"
        "assert all(outcome.value for outcome in caller.ask_all(asks))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGKILL
    with Cache(path) as cache:
        assert cache.report().n_answers == 50


def test_lines_are_found_by_hash_however_many_there_are():
    index = LineIndex()
    lines = [((k * 2654435761) % 2**32 if k % 3 else 7, 10 * k + 1) for k in range(5000)]
    for _ in range(2):
        for line_hash, offset in lines:
            index.add(line_hash, offset)
    assert index.find(7) == [10 * k + 1 for k in reversed(range(0, 5000, 3))]
    assert all(offset in index.find(line_hash) for line_hash, offset in lines[1::3])
    assert index.find(12345) == []


def test_keys_are_those_of_earlier_versions_so_that_nothing_is_paid_again():
    request = Request(
        (Message("system", "s"), Message("user", "ü😀")), Sampling(0.5, 7, 3, 2), Schema("n", {"type": "object"})
    )
    assert key_of('["t"]', request).hex() == "d278a18ade8a9838ae4c5b737669289b"
    assert key_of("i", Request((Message("user", "hello"),))).hex() == "4e3bd99ccf377685ce745c648d6d2bff"
