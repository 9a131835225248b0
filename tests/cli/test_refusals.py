import json
import os

import pytest

from personalrm.testing import tiny_users, write_pairs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "file"),
        (["fly"], "invalid choice"),
        (["fit", "nothing.jsonl"], "does not exist"),
        (["fit", "{prefs}", "--trials", "0"], "is below 1"),
        (["fit", "{prefs}", "--trials", "-3"], "is below 1"),
        (["fit", "{prefs}", "--trials", "nan"], "not a whole number"),
        (["fit", "{prefs}", "--variant", "best"], "invalid choice"),
        (["fit", "{prefs}", "--layout", "tables"], "unknown layout 'tables'"),
        (["fit", "{prefs}", "--user-column", "rater"], "no column 'rater'"),
        (["fit", "{prefs}", "--user", "nobody"], "'nobody' is not in"),
        (["fit", "{prefs}", "--home", ""], "'' does not name a folder"),
        (["evaluate", "{prefs}", "--methods", "magic"], "unknown method 'magic'"),
        (["evaluate", "{prefs}", "--min-pairs", "0"], "is below 1"),
        (["evaluate", "{prefs}", "--min-pairs", "99"], "no user has a target pair"),
        (["evaluate", "{prefs}", "--by-context", "5,x"], "not a whole number"),
        (["evaluate", "{prefs}", "--population-leaves-out", "item"], "no column 'item'"),
        (["show", "nobody"], "'nobody' is not in"),
        (["history", "nobody"], "'nobody' is not in"),
        (["export", "nobody"], "'nobody' is not in"),
        (["judge", "nothing.jsonl"], "does not exist"),
        (["judge", os.devnull], "is empty"),
        (["demo", "--config", "nothing.yaml"], "cannot be read"),
    ],
)  # fmt: skip
def test_bad_usage_ends_with_one_sentence_and_exit_code_two(run, prefs, arguments, message):
    code, out, err = run(*[argument.replace("{prefs}", str(prefs)) for argument in arguments])
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_model_without_a_place_is_refused(run, prefs):
    code, _, err = run("fit", prefs, "--model", "llama")
    assert (code, "--base-url" in err) == (2, True)


def test_bad_rows_stop_a_fit_and_nothing_is_written(run, prefs, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{\n" + prefs.read_text(), encoding="utf-8")
    code, _, err = run("fit", bad)
    assert (code, "line 1" in err) == (2, True)
    assert not (tmp_path / "personalrm-home").exists()
    assert run("fit", bad, "--skip-bad")[0] == 3


def test_a_home_that_is_a_file_is_refused(run, prefs, tmp_path):
    (tmp_path / "home").write_text("")
    code, _, err = run("fit", prefs, "--home", tmp_path / "home")
    assert (code, "cannot be" in err) == (1, True)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("trails: 3\n", "did you mean 'trials'?"),
        ("- a\n", "not keys and values"),
        ("trials: many\n", "not a whole number"),
        (": : :", "is not YAML"),
        ("skip_bad: perhaps\n", "true or false"),
        ("home: null\n", "is empty"),
        ("home: [a]\n", "is a list"),
        ("home: yes\n", "is true or false"),
        ("home: ''\n", "does not name a folder"),
        ("home: a\nhome: b\n", "'home' stands twice"),
        ("min-pairs: 1\nmin_pairs: 2\n", "'min_pairs' stands twice"),
    ],
)
def test_a_wrong_settings_file_is_refused(run, prefs, tmp_path, yaml, message):
    (tmp_path / "settings.yaml").write_text(yaml)
    code, _, err = run("fit", prefs, "--config", "settings.yaml")
    assert (code, message in err) == (2, True)


def test_a_blank_home_in_the_environment_is_refused(run, prefs, monkeypatch):
    monkeypatch.setenv("PERSONALRM_HOME", "")
    code, _, err = run("fit", prefs)
    assert (code, "PERSONALRM_HOME: '' does not name a folder" in err) == (2, True)


@pytest.mark.slow
def test_a_flag_wins_over_the_environment_and_that_over_the_file(run, prefs, tmp_path, monkeypatch):
    (tmp_path / "settings.yaml").write_text("home: from-file\n")
    assert run("fit", prefs, "--config", "settings.yaml")[0] == 0
    monkeypatch.setenv("PERSONALRM_HOME", "from-environment")
    assert run("fit", prefs, "--config", "settings.yaml")[0] == 0
    assert run("fit", prefs, "--config", "settings.yaml", "--home", "from-flag")[0] == 0
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"from-file", "from-environment", "from-flag"}


def test_a_shortened_flag_is_refused(run, prefs, monkeypatch):
    """It would be read, and then lose to the environment variable."""
    monkeypatch.setenv("PERSONALRM_HOME", "from-environment")
    code, _, err = run("fit", prefs, "--hom", "from-flag")
    assert (code, "unrecognized arguments: --hom" in err) == (2, True)


def test_users_with_target_rows_only_are_counted(run, tmp_path):
    from dataclasses import replace

    users = tiny_users(8)
    pairs = [pair for user in users[1:] for pair in user] + [replace(pair, split="target") for pair in users[0]]
    code, out, _ = run("fit", write_pairs(tmp_path / "p.jsonl", pairs))
    assert (code, "1 user with target rows only, left out" in out) == (0, True)


def test_errors_name_ids_and_lengths_but_never_texts(run, tmp_path, prefs):
    text = prefs.read_text().replace("How do I get to the lake on day 3?", "")
    secret = tmp_path / "secret.jsonl"
    secret.write_text(text + '{"user_id": "u1", "prompt": "my secret illness", "chosen": "same", "rejected": "same"}\n')
    _, out, err = run("fit", secret)
    assert "secret illness" not in out + err


def test_a_text_where_a_role_belongs_is_not_printed(fitted, tmp_path):
    row = {"user_id": "u1", "prompt": [{"role": "my secret illness", "content": "x"}], "first": "a", "second": "b"}
    (tmp_path / "row.jsonl").write_text(json.dumps(row), encoding="utf-8")
    _, out, err = fitted("judge", "row.jsonl")
    assert "a turn with role a text of 17 characters" in err
    assert "illness" not in out + err
