import json

import pytest

from personalrm.preferences.prepared_prompts import read_prepared

pytestmark = pytest.mark.slow


def test_prompts_are_written_and_counted(run, prefs, tmp_path):
    code, out, _ = run("prepare-prompts", prefs, "--cross-fitted")
    assert (code, out.splitlines()) == (
        0,
        ["8 users with a prompt, saved in prompts.jsonl", "48 prompts made without one conversation"],
    )
    assert len(read_prepared(tmp_path / "prompts.jsonl").cross_fitted) == 48


def test_users_with_few_choices_are_counted(run, prefs):
    code, out, _ = run("prepare-prompts", prefs, "--min-pairs", "7", "--json")
    assert (code, json.loads(out)["n_too_few"], json.loads(out)["n_users"]) == (0, 8, 0)


def test_a_folder_that_is_not_there_is_refused(run, prefs):
    code, _, err = run("prepare-prompts", prefs, "--out", "none/p.jsonl")
    assert code == 2 and "cannot be written" in err


def test_a_bad_row_is_refused_before_anything_is_written(run, prefs, tmp_path):
    prefs.write_text(prefs.read_text() + "{}\n")
    assert run("prepare-prompts", prefs)[0] == 2 and not (tmp_path / "prompts.jsonl").exists()
