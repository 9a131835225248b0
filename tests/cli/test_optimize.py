"""The optimize command: results, stops, resumption, refusals."""

import json
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.fakes.server_process import ServerProcess

from personalrm.testing import tiny_users, write_pairs
from personalrm.testing.coaching import coached
from personalrm.testing.fake_server import FakeServer

PLANTED = "Describe what they LIKE."
SMALL = ("--instructions", "4", "--example-sets", "3", "--trials", "5", "--minibatch", "6", "--user-trials", "1")
RULE = coached({"LIKE": 0.5}, 0.4, ("Describe.", PLANTED, "Say it."))


@pytest.fixture
def people(tmp_path):
    return write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(16, 8) for pair in user])


@pytest.fixture
def optimize(run, people):
    def run_optimize(server, *arguments):
        return run("optimize", people, "--model", "small", "--base-url", server.url, *SMALL, *arguments)

    return run_optimize


@pytest.mark.slow
def test_the_prompt_it_writes_is_taken_by_fit_and_refused_for_the_people_it_was_scored_on(run, optimize, people):
    with FakeServer(RULE) as server:
        code, out, err = optimize(server, "--dspy-out", "program.json")
        assert (code, "prompt found" in out, "saved as persona-prompt.json" in out) == (0, True, True), err
        assert json.loads(Path("persona-prompt.json").read_text())["instruction"] == PLANTED
        model = ("--model", "small", "--base-url", server.url, "--trials", "2")
        for prompt in ("persona-prompt.json", "program.json"):
            assert run("fit", people, "-u", "u1", *model, "--persona-prompt", prompt)[0] == 0
            code, _, err = run("evaluate", people, *model, "--persona-prompt", prompt)
            assert (code, "the persona prompt was searched for with pair" in err) == (2, True)


@pytest.mark.slow
def test_json_says_everything_and_holds_no_text_of_anybody(optimize):
    with FakeServer(RULE) as server:
        code, out, _ = optimize(server, "--json")
    told = json.loads(out)
    assert (code, told["method"], told["n_dev_users"], told["out"]) == (0, "search", 8, "persona-prompt.json")
    assert "the lake" not in out and "seen" not in told


@pytest.mark.slow
def test_a_second_run_asks_nothing_and_writes_the_same_bytes(optimize):
    with FakeServer(RULE) as server:
        optimize(server)
        before, n = Path("persona-prompt.json").read_text(), server.log.n_requests
        optimize(server)
        assert (Path("persona-prompt.json").read_text(), server.log.n_requests) == (before, n)


@pytest.mark.slow
def test_a_dry_run_asks_nothing_and_its_bound_holds(optimize):
    with FakeServer(RULE) as server:
        bound = json.loads(optimize(server, "--dry-run", "--json")[1])
        assert server.log.n_requests == 0
        assert "would search over 8 train and 8 dev users" in optimize(server, "--dry-run")[1]
        optimize(server)
        assert server.log.n_requests <= bound["n_calls"] == sum(bound["calls"].values())


@pytest.mark.slow
def test_a_budget_is_kept_and_the_same_command_goes_on(optimize):
    with FakeServer(RULE) as server:
        code, _, err = optimize(server, "--max-calls", "40")
        assert (code, server.log.n_requests, "budget of 40 calls is spent" in err) == (1, 40, True)
        assert optimize(server)[0] == 0
        assert set(server.log.calls.values()) == {1}


@pytest.mark.slow
def test_distillation_searches_with_the_teacher_and_measures_the_student(optimize):
    with FakeServer(RULE) as teacher, FakeServer(RULE) as student:
        code, out, _ = optimize(student, "--teacher-model", "big", "--teacher-base-url", teacher.url, "--json")
        told = json.loads(out)
        assert (code, told["model"], told["student"]["model"]) == (0, "big", "small")
        assert teacher.log.n_requests > student.log.n_requests > 0
    assert json.loads(Path("persona-prompt.json").read_text())["provenance"]["student"] == told["student"]


@pytest.mark.slow
def test_teacher_and_student_share_one_budget(optimize):
    with FakeServer(RULE) as teacher, FakeServer(RULE) as student:
        more = ("--teacher-model", "big", "--teacher-base-url", teacher.url, "--max-calls")
        optimize(student, *more, "10000")
        n_teacher = teacher.log.n_requests
    with FakeServer(RULE) as teacher, FakeServer(RULE) as student:
        more = ("--teacher-model", "big", "--teacher-base-url", teacher.url, "--home", "other", "--max-calls")
        code, _, err = optimize(student, *more, str(n_teacher + 5))
        assert (code, teacher.log.n_requests + student.log.n_requests) == (1, n_teacher + 5), err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: server, people, bytes, seconds."""
    folder = tmp_path_factory.mktemp("whole")
    people = write_pairs(folder / "people.jsonl", [pair for user in tiny_users(16, 8) for pair in user])
    with ServerProcess("--rule", "coached", "--latency-ms", "30") as server:
        began = time.monotonic()
        process = start(server, people, folder)
        process.communicate()
        assert process.returncode == 0
        yield server, people, (folder / "p.json").read_bytes(), time.monotonic() - began


def start(server, people, folder):
    command = [sys.executable, "-m", "personalrm", "optimize", str(people), "--model", "m", "--base-url", server.url]
    more = ["--home", str(folder / "home"), "--out", str(folder / "p.json"), *SMALL, "--max-in-flight", "8"]
    return subprocess.Popen(command + more, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.5, 0.9])
def test_a_killed_search_ends_with_the_same_bytes(whole, tmp_path, moment):
    server, people, expected, wall_s = whole
    process = start(server, people, tmp_path)
    time.sleep(moment * wall_s)
    process.kill()
    process.communicate()
    again = start(server, people, tmp_path)
    again.communicate()
    assert (again.returncode, (tmp_path / "p.json").read_bytes() == expected) == (0, True)


@pytest.mark.slow
def test_an_interrupt_ends_with_a_sentence_and_the_same_command_goes_on(whole, tmp_path):
    server, people, expected, _ = whole
    server.reset()
    process = start(server, people, tmp_path)
    while server.summary()["requests"] < 30:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1].decode()
    assert (process.returncode, "the same command goes on" in err, "Traceback" in err) == (3, True, False), err
    again = start(server, people, tmp_path)
    again.communicate()
    assert (tmp_path / "p.json").read_bytes() == expected
    assert server.summary()["duplicates"] == 0


MODEL = ("--model", "m", "--base-url", "http://localhost:1/v1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "optimize asks a language model"),
        (["--base-url", "http://localhost:1/v1"], "needs --model"),
        ([*MODEL, "--teacher-base-url", "http://localhost:2/v1"], "--teacher-base-url needs --teacher-model"),
        ([*MODEL, "--out", "people.jsonl"], "'people.jsonl' is read or written otherwise"),
        ([*MODEL, "--out", "a.json", "--dspy-out", "a.json"], "'a.json' is read or written otherwise"),
        ([*MODEL, "--out", "nowhere/a.json"], "'nowhere/a.json' cannot be written"),
        ([*MODEL, "--out", "."], "'.' cannot be written"),
        ([*MODEL, "--instruction", "nowhere.txt"], "instruction 'nowhere.txt' cannot be read"),
        ([*MODEL, "--instruction", "blank.txt"], "instruction candidate 1 is blank"),
        ([*MODEL, "--instruction", "binary.txt"], "'binary.txt' cannot be read"),
        ([*MODEL, "--method", "mipro", "--instruction", "blank.txt"], "MIPROv2 proposes its own"),
        ([*MODEL, "--dev", "people.jsonl"], "both a train and a dev user"),
        ([*MODEL, "--dev-share", "1"], "dev share must lie between 0 and 1"),
        ([*MODEL, "--threshold", "nan"], "threshold must lie in"),
        ([*MODEL, "--trials", "0"], "'0' is below 1"),
        ([*MODEL, "--method", "guess"], "invalid choice"),
        ([*MODEL, "--persona-prompt", "blank.txt"], "blank.txt is not JSON"),
        ([*MODEL, "--teacher-model", "big", "--teacher-base-url", "nonsense"], "base URL 'nonsense'"),
    ],
)
@pytest.mark.usefixtures("people")
def test_what_cannot_end_well_is_one_sentence_before_anything_is_asked(run, tmp_path, arguments, message):
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    code, out, err = run("optimize", "people.jsonl", *arguments)
    assert (code in (1, 2), out, message in err) == (True, "", True), err


@pytest.mark.skipif(find_spec("dspy") is not None, reason="DSPy is installed")
def test_mipro_without_its_extra_names_it(run, people):
    code, _, err = run("optimize", people, *MODEL, "--method", "mipro")
    assert (code, "pip install 'personalrm[optimize]'" in err) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["my notes", "", '{"format_version": 1, "source": "me", "instruction": "Write.", "examples": []}']
)
@pytest.mark.parametrize("flag", ["--out", "--dspy-out"])
def test_what_another_search_or_person_wrote_is_not_replaced(optimize, content, flag):
    Path("mine.json").write_text(content)
    with FakeServer(RULE) as server:
        code, _, err = optimize(server, flag, "mine.json")
        assert (code, "was not written by this search" in err, server.log.n_requests) == (2, True, 0)
    assert Path("mine.json").read_text() == content
