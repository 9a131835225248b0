"""A fit with a model, stopped at any moment and run again: the same bytes, and no call paid twice but those under way.

The server counts, in its own process: requests, different calls, and the most that were under way at one time.
"""

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from tests.fakes.command import output_of
from tests.fakes.people import saved
from tests.fakes.server_process import ServerProcess

from personalrm.testing import tiny_pair, write_pairs

pytestmark = pytest.mark.slow
IN_FLIGHT = 8


@dataclass
class Whole:
    """An uninterrupted fit, what it left behind, and how long it was asking."""

    server: ServerProcess
    saved: dict
    export: str
    asks_s: float
    n_calls: int


def start(people, server, home, *arguments):
    command = [sys.executable, "-m", "personalrm", "fit", str(people), "--model", "fake", "--base-url", server.url]
    more = ["--home", str(home), "--trials", "3", "--max-in-flight", str(IN_FLIGHT), *arguments]
    return subprocess.Popen(command + more, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def code_of(process, **limits):
    """The exit code; what it wrote is dropped."""
    process.communicate(**limits)
    return process.returncode


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.jsonl"
    return write_pairs(
        path, [tiny_pair(f"u{u}", 100 * u + k, likes_long=u % 2 == 0) for u in range(4) for k in range(8)]
    )


def run_whole(server, people, home):
    """A fit that nothing stops; its bytes name the server, so each server needs its own."""
    assert code_of(start(people, server, home)) == 0
    counts = server.summary()
    return Whole(
        server, saved(home), output_of("export", "--home", home), counts["last_s"] - counts["first_s"], counts["calls"]
    )


@pytest.fixture(scope="module")
def whole(people, tmp_path_factory):
    """A fit of two seconds, for signals that must meet answers under way: two signals come within one answer's time."""
    with ServerProcess("--latency-ms", "140") as server:
        yield run_whole(server, people, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def swift(people, tmp_path_factory):
    """A fit that waits little, for moments that are named and need no long run to be hit."""
    with ServerProcess("--latency-ms", "30") as server:
        yield run_whole(server, people, tmp_path_factory.mktemp("swift"))


def finished_after(stop, people, whole, home, most_repeated=None):
    """Starts a fit, lets `stop` end it, runs the same command again and compares everything."""
    whole.server.misbehave()
    process = start(people, whole.server, home)
    stop(process)
    err = process.communicate()[1].decode()
    assert saved(home).items() <= whole.saved.items()
    assert code_of(start(people, whole.server, home)) == 0
    assert (saved(home), output_of("export", "--home", home)) == (whole.saved, whole.export)
    counts = whole.server.summary()
    assert counts["calls"] == whole.n_calls
    assert counts["duplicates"] <= (counts["most_in_flight"] if most_repeated is None else most_repeated)
    assert counts["most_in_flight"] <= IN_FLIGHT
    return process.returncode, err


def kill_at(share, whole):
    """Kills after a share of the time in which it asks; a kill before the first request leaves nothing behind."""

    def stop(process):
        while not whole.server.summary()["requests"]:
            time.sleep(0.01)
        time.sleep(share * whole.asks_s)
        process.kill()

    return stop


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_fit_ends_with_the_same_bytes_and_repeats_only_what_was_under_way(people, whole, tmp_path, seed):
    finished_after(kill_at(random.Random(seed).random(), whole), people, whole, tmp_path)


@pytest.mark.endure
@pytest.mark.parametrize("seed", range(100, 130))
def test_thirty_kills_end_with_the_same_bytes(people, whole, tmp_path, seed):
    finished_after(kill_at(random.Random(seed).random(), whole), people, whole, tmp_path)


@pytest.mark.parametrize("point", ["first request", "first user saved", "last request"])
def test_a_kill_at_a_named_point_ends_with_the_same_bytes(people, swift, tmp_path, point):
    reached = {
        "first request": lambda: swift.server.summary()["requests"] >= 1,
        "first user saved": lambda: bool(saved(tmp_path)),
        "last request": lambda: swift.server.summary()["requests"] >= swift.n_calls,
    }[point]

    def stop(process):
        while not reached():
            time.sleep(0.01)
        process.kill()

    finished_after(stop, people, swift, tmp_path)


def interrupt(number, times, whole):
    """Interrupts when most of the calls are made, so that somebody is finished and somebody is not."""

    def stop(process):
        while whole.server.summary()["requests"] < 0.8 * whole.n_calls:
            time.sleep(0.02)
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.05)

    return stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_keeps_every_answer_that_was_paid(people, whole, tmp_path, number):
    code, err = finished_after(interrupt(number, 1, whole), people, whole, tmp_path, most_repeated=0)
    assert (code, "answers under way are awaited and kept" in err, "Traceback" in err) == (3, True, False)


def test_a_second_interrupt_stops_at_once_and_loses_only_what_was_under_way(people, whole, tmp_path):
    code, err = finished_after(interrupt(signal.SIGINT, 2, whole), people, whole, tmp_path)
    assert (code, "the same command goes on from there" in err, "Traceback" in err) == (3, True, False)


def test_a_second_interrupt_does_not_wait_for_a_server_that_never_answers(people, tmp_path):
    with ServerProcess("--latency-ms", "600000") as server:
        process = start(people, server, tmp_path)
        while not server.summary()["requests"]:
            time.sleep(0.02)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert "Traceback" not in process.communicate(timeout=30)[1].decode()
        assert process.returncode == 3


def test_three_processes_may_fit_into_one_home_and_pay_for_each_answer_once(people, swift, tmp_path):
    swift.server.misbehave()
    processes = [start(people, swift.server, tmp_path) for _ in range(3)]
    assert [code_of(process) for process in processes] == [0, 0, 0]
    assert (saved(tmp_path), output_of("export", "--home", tmp_path)) == (swift.saved, swift.export)
    assert swift.server.summary()["requests"] == swift.n_calls


def test_one_of_two_processes_is_killed_and_the_other_ends_with_the_same_bytes(people, swift, tmp_path):
    swift.server.misbehave()
    killed, other = (start(people, swift.server, tmp_path) for _ in range(2))
    while swift.server.summary()["requests"] < swift.n_calls / 2:
        time.sleep(0.01)
    killed.kill()
    assert [code_of(killed), code_of(other)] == [-signal.SIGKILL, 0]
    assert (saved(tmp_path), output_of("export", "--home", tmp_path)) == (swift.saved, swift.export)
