"""What leaves a home with a person, looked for byte by byte; what a delete does to a fit that is running."""

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fakes.command import ended, output_of
from tests.fakes.people import saved, versions
from tests.fakes.server_process import ServerProcess

from personalrm import Home, example_users
from personalrm.lm.cache import Cache
from personalrm.testing import tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

pytestmark = pytest.mark.slow
ERASED, KEPT = "henrik", "mara"
RUN = """
name: everything
datasets: [{name: people, path: people.jsonl, min_pairs: 3, shows_texts: true}]
methods: [longer, personal, default, memory, persona_and_demonstrations, low_rank]
models: [{label: m, name: m, base_url: URL, scripted: true}]
encoders: [{label: stylometric}]
shuffled_users: {embedded: 1, models: 1}
trials: 1
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A home with everything a person can be in: people, answers, an edit, a run with a report, embeddings."""
    folder = tmp_path_factory.mktemp("full")
    users = [user for user in example_users() if user.user_id in (ERASED, KEPT, "nadia", "tobias")]
    write_pairs(folder / "people.jsonl", [pair for user in users for pair in user])
    with FakeServer(skilled()) as server:
        (folder / "run.yaml").write_text(RUN.replace("URL", server.url), encoding="utf-8")
        model = ("--model", "m", "--base-url", server.url, "--trials", "1")
        for command in (
            ("fit", "people.jsonl", *model),
            ("fit", "people.jsonl"),
            ("edit", ERASED, "--sentence", "Told us that he plays the nyckelharpa."),
            ("bench", "run", "-c", "run.yaml"),
            ("bench", "report", "home/runs/everything"),
        ):
            with contextlib.chdir(folder):
                done = ended(*command, *(() if "report" in command else ("--home", "home")))
            assert done.code in (0, 3), done.err
    return folder


@pytest.fixture
def home(full, tmp_path):
    shutil.copytree(full / "home", tmp_path / "home")
    return tmp_path / "home"


def holding(home, *wanted):
    """Files that hold one of some texts, as they are or as JSON writes them."""
    spellings = {
        spelled
        for text in wanted
        for spelled in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    }
    return {
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and any(text.encode() in path.read_bytes() for text in spellings)
    }


def texts_of(user_id):
    """Every text of a person that nobody else has."""
    (user,) = (user for user in example_users() if user.user_id == user_id)
    others = {text for other in example_users() if other is not user for pair in other for text in texts_in(pair)}
    return sorted({text for pair in user for text in texts_in(pair)} - others)


def texts_in(pair):
    return [pair.chosen, pair.rejected, *(turn.content for turn in pair.conversation)]


def test_no_byte_of_a_deleted_person_is_left_in_the_home(run, home):
    wanted = [*texts_of(ERASED), "nyckelharpa"]
    ids = [json.dumps(ERASED), f">{ERASED}<"]
    before = holding(home, *wanted), holding(home, *ids)
    assert {path.split("/")[0] for path in before[0] | before[1]} == {"people.db", "runs"}
    kept = {key: line for key, line in saved(home).items() if key[0] != ERASED}
    code, out, _ = run("delete", ERASED, "--yes", "--home", home)
    assert (code, " rows of runs of henrik" in out, "cached answers" in out) == (0, True, True)
    assert (holding(home, *wanted), holding(home, *ids)) == (set(), set())
    assert saved(home) == kept
    with Cache(home / "cache.sqlite", read_only=True) as cache:
        assert (cache.owns(ERASED), cache.owns(KEPT)) == (False, True)


def test_a_run_that_does_not_hold_the_person_is_left_as_it_is(run, home):
    before = {path: path.read_bytes() for path in (home / "runs").rglob("*") if path.is_file()}
    write_pairs(home.parent / "other.jsonl", list(tiny_users(1)[0]))
    assert run("fit", home.parent / "other.jsonl", "--home", home)[0] == 0
    assert run("delete", "u0", "--yes", "--home", home)[0] == 0
    assert {path: path.read_bytes() for path in (home / "runs").rglob("*") if path.is_file()} == before


def test_a_run_without_the_person_is_valid_and_its_report_counts_who_is_left(run, home):
    run("delete", ERASED, "--yes", "--home", home)
    code, out, err = run("bench", "validate", home / "runs" / "everything")
    assert (code, "cells, 0 unscored" in out, err) == (0, True, ""), out
    info = json.loads((home / "runs" / "everything" / "run.json").read_text())
    statistics = info["datasets"][0]["statistics"]
    assert (set(statistics), statistics["n_users"], statistics["n_target_users"]) == (
        {"n_users", "n_target_users", "n_target_pairs"}, 3, 3,
    )  # fmt: skip
    report = (home / "runs" / "everything" / "report.md").read_text()
    assert re.search(r"^\| people \| 3 \|", report, re.MULTILINE)


def test_what_is_left_of_a_person_outside_of_the_store_is_found(run, home):
    """A killed delete, or a fit that never saved them."""
    (home / "people.db").unlink()
    assert f'"user_id": "{ERASED}"' in run("export", ERASED, "--home", home)[1]
    assert run("delete", ERASED, "--yes", "--home", home)[0] == 0
    code, _, err = run("delete", ERASED, "--yes", "--home", home)
    assert (code, "is not in" in err) == (2, True)


def test_an_export_holds_answers_and_rows_of_runs_besides_the_store(run, home):
    lines = [json.loads(line) for line in run("export", ERASED, "--home", home)[1].splitlines()]
    kinds = {next(kind for kind in ("pair", "version", "edit", "answer", "run") if kind in line) for line in lines}
    assert kinds == {"pair", "version", "edit", "answer", "run"}
    assert {line["user_id"] for line in lines} == {ERASED}


def test_a_delete_ends_one_persons_fit_and_not_the_fit(tmp_path):
    people = write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(4, 8) for pair in user])
    with ServerProcess("--latency-ms", "60") as server:
        command = [sys.executable, "-m", "personalrm"]
        more = ["--model", "fake", "--base-url", server.url, "--trials", "3", "--max-in-flight", "4"]
        at = ["--home", str(tmp_path / "home")]
        output_of("fit", people, *at)
        fit = subprocess.Popen(
            [*command, "fit", str(people), *more, *at, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not server.summary()["requests"]:
            time.sleep(0.01)
        output_of("delete", "u3", "--yes", *at)
        out, err = fit.communicate()
    report = json.loads(out)
    assert (fit.returncode, report["n_fitted"]) == (3, 3), err
    assert report["failed"] == {"u3": "deleted while this fit ran; nothing of them was saved"}
    assert {user for user, _ in versions(tmp_path / "home")} == {f"u{number}" for number in range(3)}
    with Cache(tmp_path / "home" / "cache.sqlite", read_only=True) as cache:
        assert (cache.owns("u3"), cache.owns("u2")) == (False, True)


def test_answers_that_come_after_a_delete_go_where_the_persons_fit_ends_without_a_prompt_too(tmp_path):
    people = write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(2, 8) for pair in user])
    with ServerProcess("--latency-ms", "500") as server, Home(tmp_path / "home") as home:
        for user in tiny_users(2, 8):
            home.add(user)
        command = [
            "fit",
            str(people),
            "--model",
            "fake",
            "--base-url",
            server.url,
            "--trials",
            "3",
            "--max-calls",
            "12",
        ]
        fit = subprocess.Popen(
            [sys.executable, "-m", "personalrm", *command, "--max-in-flight", "4", "--home", str(home.path), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not server.summary()["requests"]:
            time.sleep(0.01)
        home.person("u0").delete()
        out, err = fit.communicate()
    assert json.loads(out)["failed"]["u0"] == "not done, the run was stopped", err
    with Cache(tmp_path / "home" / "cache.sqlite", read_only=True) as cache:
        assert (cache.owns("u0"), cache.owns("u1")) == (False, True)


def test_a_model_that_learned_from_a_forgotten_choice_and_the_command_that_fits_again_are_named(run, home):
    pair = next(line["pair"] for key, line in saved(home).items() if key[0] == KEPT and "pair" in line)
    with sqlite3.connect(home / "people.db") as database:  # version 1 is the model's
        database.execute(
            "DELETE FROM prompts WHERE number > 1 AND person_id IN (SELECT id FROM people WHERE user_id = ?)", (KEPT,)
        )
    code, out, _ = run("forget", KEPT, "--pair", pair["pair_id"], "--yes", "--home", home)
    assert (code, f"personalrm fit FILE --user {KEPT} --model m" in out) == (0, True), out


def test_forgetting_the_last_choice_says_that_what_was_learned_is_gone(run, tmp_path):
    prefs = write_pairs(tmp_path / "prefs.jsonl", [tiny_users(1)[0].pairs[0]])
    assert run("fit", prefs)[0] == 0
    code, out, _ = run("forget", "u0", "--pair", tiny_users(1)[0].pairs[0].hash, "--yes")
    assert (code, "no choice is left: 1 version of the prompt erased too" in out) == (0, True), out


def test_forgetting_a_choice_takes_kept_answers_that_may_quote_it(run, home):
    pair = next(line["pair"] for key, line in saved(home).items() if key[0] == ERASED and "pair" in line)
    code, out, _ = run("forget", ERASED, "--pair", pair["pair_id"], "--yes", "--home", home)
    assert (code, "cached answer" in out) == (0, True)
    (home / "runs").rename(home.parent / "runs")
    assert holding(home, pair["chosen"]) == set()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("delete", "nobody"), "'nobody' is not in"),
        (("forget", "nobody", "--pair", "p", "--yes"), "'nobody' is not in"),
        (("forget", "u1", "--pair", "p9", "--yes"), "no choice 'p9'"),
        (("forget", "u1", "--pair", "p9"), "pass --yes to forget choice p9"),
        (("forget", "u1"), "--pair"),
        (("hide", "nobody", "--word", "x"), "'nobody' is not in"),
        (("hide", "u1", "--pair", "p9"), "no choice 'p9'"),
        (("hide", "u1", "--word", "  "), "one of the two"),
        (("hide", "u1", "--word", "x", "--pair", "y"), "not allowed with"),
        (("import", "nothing.jsonl"), "cannot be read"),
        (("import", "."), "cannot be read"),
        (("import", "prefs.jsonl"), "line 1 holds nothing that an export writes"),
        (("users", "--database", "mysql://host/name"), "'mysql' are not supported"),
    ],
)
def test_a_wrong_request_changes_nothing_and_is_one_sentence(fitted, tmp_path, command, message):
    before = saved(tmp_path / "personalrm-home")
    code, out, err = fitted(*command)
    assert (code, out, message in err, "Traceback" in err) == (2, "", True, False), err
    assert saved(tmp_path / "personalrm-home") == before


def test_what_is_hidden_is_listed(fitted):
    assert fitted("hide", "u1", "--word", "rye bread")[0] == 0
    out = fitted("hide", "u1")[1]
    assert out.splitlines() == ["hidden choices of u1: none", "hidden words of u1: rye bread"]


def test_import_gives_what_export_printed(fitted):
    printed = fitted("export")[1]
    Path("all.jsonl").write_text(printed, encoding="utf-8")
    code, out, _ = fitted("import", "all.jsonl", "--home", "other")
    assert (code, "8 users imported into other" in out) == (0, True)
    assert fitted("export", "--home", "other")[1] == printed
