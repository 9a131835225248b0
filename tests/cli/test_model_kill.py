"""A fit with a model, killed at any moment and run again: the same bytes, and no call paid twice but those under way."""

import random
import subprocess
import sys
import time

import pytest

from personalrm.testing import tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer

pytestmark = pytest.mark.slow
IN_FLIGHT = 8


@pytest.fixture
def people(tmp_path):
    return write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(6, 8) for pair in user])


def start(people, server, home):
    command = [sys.executable, "-m", "personalrm", "fit", str(people), "--model", "fake", "--base-url", server.url]
    more = ["--home", str(home), "--trials", "4", "--max-in-flight", str(IN_FLIGHT)]
    return subprocess.Popen(command + more, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(home):
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.glob("users/*/v*.json"))}


def killed_and_finished(people, tmp_path, seed):
    with FakeServer(latency_s=0.05) as server:
        began = time.monotonic()
        assert start(people, server, tmp_path / "whole").wait() == 0
        wall, n_calls = time.monotonic() - began, len(server.log.calls)
        process = start(people, server, tmp_path / "killed")
        time.sleep(random.Random(seed).uniform(0.0, wall))
        process.kill()
        process.wait()
        assert start(people, server, tmp_path / "killed").wait() == 0
        assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
        assert server.log.n_requests <= 2 * n_calls + IN_FLIGHT


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_fit_ends_with_the_same_bytes_and_repeats_only_what_was_under_way(people, tmp_path, seed):
    killed_and_finished(people, tmp_path, seed)


@pytest.mark.endure
@pytest.mark.parametrize("seed", range(100, 115))
def test_fifteen_kills_end_with_the_same_bytes(people, tmp_path, seed):
    killed_and_finished(people, tmp_path, seed)


def test_two_processes_may_fit_into_one_home(people, tmp_path):
    with FakeServer(latency_s=0.02) as server:
        assert start(people, server, tmp_path / "one").wait() == 0
        both = [start(people, server, tmp_path / "shared") for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
        assert contents(tmp_path / "shared") == contents(tmp_path / "one")


def test_an_interrupt_keeps_every_answer_that_was_paid(people, tmp_path):
    with FakeServer(latency_s=0.05) as server:
        process = start(people, server, tmp_path / "home")
        time.sleep(1.5)
        process.terminate()
        assert process.wait() in (0, 1, 3, -15)
        assert start(people, server, tmp_path / "home").wait() == 0
        assert server.log.n_requests <= len(server.log.calls) + IN_FLIGHT
