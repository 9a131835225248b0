"""`--model FILE.gguf` at the command line and in run files; llama.cpp is a stand-in."""

import json

import pytest
from tests.fakes.gguf_files import gguf, run_by_stand_in

from personalrm.cli import time_here
from personalrm.lm.local.speed import Speed
from personalrm.testing import tiny_users, write_pairs

pytestmark = pytest.mark.slow
RUN_FILE = """
name: r
methods: [default]
trials: 1
datasets: [{{name: d, path: people.jsonl, min_pairs: 2}}]
models: [{{label: small, name: {name}}}]
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path, monkeypatch):
    run_by_stand_in(tmp_path, monkeypatch)


@pytest.fixture
def place(tmp_path):
    """A folder with people and a model."""
    (tmp_path / "small.gguf").write_bytes(gguf())
    write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(2, 6) for pair in user])
    return tmp_path


def test_a_fit_asks_the_file_and_a_second_one_finds_all_answers_wherever_the_file_lies(run, place):
    people, home = place / "people.jsonl", place / "home"
    code, out, err = run("fit", people, "--model", place / "small.gguf", "--home", home, "--trials", "1", "--json")
    assert code == 0, err
    assert sum(usage["n_calls"] for usage in json.loads(out)["usage"].values()) > 0
    (place / "moved").mkdir()
    moved = (place / "small.gguf").rename(place / "moved" / "other.gguf")
    arguments = ("evaluate", people, "--model", moved, "--home", home, "--trials", "1", "--min-pairs", "2")
    assert run(*arguments)[0] == 0
    again = run(*arguments, "--max-calls", "1")
    assert again[0] == 0, again[2]  # everything is kept


def test_a_file_that_is_not_there_is_one_sentence(run, place):
    code, out, err = run("fit", place / "people.jsonl", "--model", place / "no.gguf", "--home", place / "home")
    assert (code, out, err.count("\n")) == (2, "", 1) and "is not there" in err


def test_a_dry_run_measures_and_tells_the_time(run, place):
    arguments = ("fit", place / "people.jsonl", "--model", place / "small.gguf", "--home", place / "home", "--dry-run")
    code, out, err = run(*arguments)
    assert code == 0, err
    assert "on this machine at most about 1 min: it reads" in out and "shorter" not in out
    code, out, _ = run(*arguments, "--json")
    assert code == 0 and json.loads(out)["hours"] > 0
    assert not (place / "home").exists()


def test_a_long_run_says_what_would_be_shorter(run, place, monkeypatch):
    monkeypatch.setattr(time_here, "speed_of", lambda model: Speed(1.0, 0.5, 4))
    code, out, _ = run(
        "fit", place / "people.jsonl", "--model", place / "small.gguf", "--home", place / "home", "--dry-run"
    )
    assert (
        code == 0 and "hours: it reads 1.0 and writes 0.5 tokens a second" in out and "\nshorter: fewer --trials" in out
    )


def test_a_run_file_names_a_model_beside_it(run, place):
    (place / "run.yaml").write_text(RUN_FILE.format(name="small.gguf"))
    code, out, err = run("bench", "run", "-c", place / "run.yaml", "--folder", place / "r", "--home", place / "home")
    assert code == 0, out + err
    code, out, err = run("bench", "run", "-c", place / "run.yaml", "--home", place / "home", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["hours"]["small"] > 0


def test_a_run_file_names_a_model_in_the_folder_of_models(run, place, monkeypatch):
    (place / "run").mkdir()
    for name in ("people.jsonl",):
        (place / name).rename(place / "run" / name)
    (place / "run" / "run.yaml").write_text(RUN_FILE.format(name="small.gguf"))
    monkeypatch.setenv("PERSONALRM_MODELS", str(place))
    code, out, err = run(
        "bench", "run", "-c", place / "run" / "run.yaml", "--folder", place / "r", "--home", place / "home"
    )
    assert code == 0, out + err


@pytest.mark.parametrize("name", ["/etc/model.gguf", "../small.gguf"])
def test_a_run_file_names_no_model_elsewhere(run, place, name):
    (place / "run").mkdir()
    (place / "run" / "run.yaml").write_text(RUN_FILE.format(name=name))
    code, _, err = run("bench", "run", "-c", place / "run" / "run.yaml", "--home", place / "home")
    assert code == 2 and "lies neither beside that file nor in" in err


def test_a_judges_file_names_no_model_elsewhere(run, place):
    (place / "judges").mkdir()
    (place / "judges" / "j.yaml").write_text("judges: [{model: ../small.gguf}]\n")
    arguments = ("bench", "build", place / "people.jsonl", "--out", place / "built", "--without", "personalizable")
    code, _, err = run(*arguments, "--judges", place / "judges" / "j.yaml")
    assert code == 2 and "lies neither beside that file nor in" in err


def test_a_demo_of_one_person_asks_the_file(run, place):
    code, out, err = run(
        "demo", "--user", "henrik", "--model", place / "small.gguf", "--trials", "1", "--home", place / "h"
    )
    assert code == 0, err
    assert "1 person, 13 choices" in out and "henrik really chose" in out
    assert run("demo", "--user", "nobody")[0] == 2
