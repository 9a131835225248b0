"""`personalrm bench run`, `ls`, `validate`, `compare` as typed, refused, interrupted and killed."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from personalrm.bench.methods.table import METHODS
from personalrm.testing import tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

pytestmark = pytest.mark.slow
RUN = """
name: tiny
datasets: [{name: tiny, path: prefs.jsonl}]
methods: [random, longer, population, personal]
"""
WITH_MODEL = """
name: tiny
datasets: [{name: tiny, path: people.jsonl}]
methods: [longer, default, memory, persona_and_demonstrations]
models: [{label: m, name: m, base_url: "http://127.0.0.1:1/v1", scripted: true, max_in_flight: 8}]
trials: 2
"""
IN_FLIGHT = 8


@pytest.fixture
def run_file(prefs):
    path = prefs.with_name("run.yaml")
    path.write_text(RUN, encoding="utf-8")
    return path


def test_a_run_is_made_listed_validated_and_not_made_twice(run, run_file):
    code, out, err = run("bench", "run", "-c", run_file)
    assert (code, out.splitlines()[0]) == (0, "5 cells run, 0 finished before, in personalrm-home/runs/tiny")
    assert len(err.splitlines()) == 5
    code, out, err = run("bench", "run", "-c", run_file)
    assert (code, err, out.splitlines()[0]) == (0, "", "0 cells run, 5 finished before, in personalrm-home/runs/tiny")
    assert "tiny  finished    5/5" in run("bench", "ls")[1]
    assert run("bench", "validate", "personalrm-home/runs/tiny")[:2] == (
        0,
        "personalrm-home/runs/tiny: 5 cells, 0 unscored judgements\n",
    )


def test_a_run_file_is_validated_before_it_is_run(run, run_file):
    code, out, _ = run("bench", "validate", run_file)
    assert code == 0
    assert "8 users, 16 target pairs" in out
    run_file.write_text(RUN.replace("methods", "metods"), encoding="utf-8")
    code, _, err = run("bench", "validate", run_file)
    assert code == 2
    assert "unknown key 'metods'" in err and "did you mean 'methods'?" in err


def test_a_dry_run_asks_and_writes_nothing(run, run_file, tmp_path):
    code, out, _ = run("bench", "run", "-c", run_file, "--dry-run")
    assert code == 0
    assert out.splitlines()[-1] == "would run 5 cells: 384 judgements, at most 0 calls of language models"
    assert not (tmp_path / "personalrm-home").exists()
    told = json.loads(run("bench", "run", "-c", run_file, "--dry-run", "--json")[1])
    assert (told["n_calls"], len(told["cells"])) == (0, 5)


def test_a_dry_run_says_which_methods_do_not_say_what_they_ask(run, run_file, monkeypatch):
    monkeypatch.setitem(METHODS, "longer", replace(METHODS["longer"], calls=None))
    _, out, _ = run("bench", "run", "-c", run_file, "--dry-run")
    lines = out.splitlines()
    assert [line for line in lines if "unknown, at least 0 calls" in line and ".longer." in line.split()[-1]]
    assert lines[-2].endswith("384 judgements, an unknown number of calls of language models, at least 0")
    assert lines[-1].startswith("unknown: longer")


def test_a_limit_makes_a_run_of_its_own(run, run_file):
    assert run("bench", "run", "-c", run_file, "--limit", "3")[0] == 0
    assert "tiny-limit3" in run("bench", "ls")[1]


def test_two_runs_are_compared(run, run_file):
    run("bench", "run", "-c", run_file)
    run("bench", "run", "-c", run_file, "--limit", "4")
    code, out, _ = run("bench", "compare", "personalrm-home/runs/tiny", "personalrm-home/runs/tiny-limit4")
    assert code == 0
    assert "tiny personal embedded" in out and "p Holm" in out
    assert json.loads(run("bench", "compare", "personalrm-home/runs/tiny", "personalrm-home/runs/tiny", "--json")[1])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run",), 2, "required: -c/--run-file"),
        (("run", "-c", "none.yaml"), 2, "cannot be read"),
        (("run", "-c", "run.yaml", "--limit", "0"), 2, "argument --limit"),
        (("run", "-c", "run.yaml", "--max-cost", "-1"), 2, "must be above 0"),
        (("run", "-c", "run.yaml", "--model-url", "x=http://x"), 2, "which is not a model of the run file"),
        (("run", "-c", "run.yaml", "--model-url", "m"), 2, "write LABEL=URL"),
        (("run", "-c", "run.yaml", "--data", "nowhere"), 2, "nowhere"),
        (("run", "-c", "run.yaml", "--folder", "prefs.jsonl"), 1, "cannot be"),
        (("validate", "prefs.jsonl"), 2, "is not YAML, line 2"),
        (("validate", "."), 2, "holds no run"),
        (("compare", ".", "."), 2, "holds no run"),
        (("compare", "."), 2, "required: B"),
        (("jump",), 2, "invalid choice"),
    ],
)
@pytest.mark.usefixtures("run_file")
def test_what_cannot_be_is_refused_in_a_sentence(run, arguments, code, said):
    got, out, err = run("bench", *arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_no_runs_are_no_error(run):
    assert run("bench", "ls")[:2] == (0, "no runs; personalrm bench run -c run.yaml makes one\n")


def test_a_missing_key_is_named_by_its_variable(run, run_file, monkeypatch):
    run_file.write_text(
        WITH_MODEL.replace("people", "prefs").replace("scripted: true", "key_variable: PERSONALRM_KEY_M"),
        encoding="utf-8",
    )
    code, _, err = run("bench", "run", "-c", run_file)
    assert (code, "variable 'PERSONALRM_KEY_M' with the key of model 'm' is not set" in err) == (2, True)
    monkeypatch.setenv("PERSONALRM_KEY_M", "sesame")
    code, out, err = run("bench", "run", "-c", run_file, "--attempts", "1", "--retry-pause", "0.01")
    assert code == 3
    assert "sesame" not in out + err


def start(folder, server, home):
    command = [sys.executable, "-m", "personalrm", "bench", "run", "-c", str(folder / "run.yaml")]
    more = ["--home", str(home), f"--model-url=m={server.url}"]
    return subprocess.Popen(command + more, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(home):
    folder = home / "runs" / "tiny"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.jsonl" and not path.name.startswith(".new-")  # left by a kill
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stops: its folder, server, files, number of calls, and for how many seconds it asked."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "run.yaml").write_text(WITH_MODEL, encoding="utf-8")
    write_pairs(folder / "people.jsonl", [pair for user in tiny_users(5, 8) for pair in user])
    with FakeServer(skilled(0.8), latency_s=0.03) as server:
        assert start(folder, server, folder / "home").wait() == 0
        log = server.log
        yield folder, server, contents(folder / "home"), len(log.calls), log.moments[-1] - log.moments[0]


def stopped_and_finished(whole, home, share, number):
    """Stops a run after a share of its asking, finishes it and compares; its exit code and the requests of both."""
    folder, server, expected, _, asks_s = whole
    before = server.log.n_requests
    process = start(folder, server, home)
    while server.log.n_requests == before:
        time.sleep(0.005)
    time.sleep(share * asks_s)
    process.send_signal(number)
    code = process.wait()
    assert start(folder, server, home).wait() == 0
    assert contents(home) == expected
    return code, server.log.n_requests - before


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_run_ends_with_the_same_bytes_and_repeats_only_what_was_under_way(whole, tmp_path, seed):
    _, n_requests = stopped_and_finished(whole, tmp_path / "home", random.Random(seed).random(), signal.SIGKILL)
    assert n_requests <= whole[3] + IN_FLIGHT


def test_an_interrupt_keeps_what_was_paid(whole, tmp_path):
    code, n_requests = stopped_and_finished(whole, tmp_path / "home", 0.6, signal.SIGTERM)
    assert code in (0, 1, 3)
    assert n_requests <= whole[3] + IN_FLIGHT
