import json

import pytest

from personalrm.preferences.prepared_prompts import read_prepared, write_prepared
from personalrm.testing import tiny_pair, tiny_users, write_pairs

pytestmark = pytest.mark.slow


def test_prompts_are_written_and_counted(run, prefs, tmp_path):
    code, out, _ = run("prepare-prompts", prefs, "--cross-fitted")
    assert (code, out.splitlines()) == (
        0,
        ["8 users with a prompt, saved in prompts.jsonl", "48 prompts made without one conversation"],
    )
    assert len(read_prepared(tmp_path / "prompts.jsonl").cross_fitted) == 48


def test_users_with_few_choices_are_counted_and_no_empty_file_is_written(run, prefs, tmp_path):
    code, out, _ = run("prepare-prompts", prefs, "--min-pairs", "7", "--json")
    assert (code, json.loads(out)["n_too_few"], json.loads(out)["n_users"]) == (1, 8, 0)
    assert not (tmp_path / "prompts.jsonl").exists()


def test_a_folder_that_is_not_there_is_refused(run, prefs):
    code, _, err = run("prepare-prompts", prefs, "--out", "none/p.jsonl")
    assert code == 2 and "cannot be written" in err


def test_a_bad_row_is_refused_before_anything_is_written(run, prefs, tmp_path):
    prefs.write_text(prefs.read_text() + "{}\n")
    assert run("prepare-prompts", prefs)[0] == 2 and not (tmp_path / "prompts.jsonl").exists()


def test_the_same_command_writes_the_same_bytes_again(run, prefs, tmp_path):
    assert run("prepare-prompts", prefs)[0] == 0
    before = (tmp_path / "prompts.jsonl").read_bytes()
    assert run("prepare-prompts", prefs)[0] == 0
    assert (tmp_path / "prompts.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes\n", b"", b"{}\n", b"\xff"])
def test_a_file_of_somebody_else_is_not_replaced(run, prefs, tmp_path, content):
    (tmp_path / "prompts.jsonl").write_bytes(content)
    code, _, err = run("prepare-prompts", prefs)
    assert (code, "prepare-prompts did not write and would be replaced" in err) == (2, True)
    assert (tmp_path / "prompts.jsonl").read_bytes() == content


def test_prompts_of_other_people_are_not_replaced(run, prefs, tmp_path):
    others = write_pairs(tmp_path / "others.jsonl", [pair for user in tiny_users(2, 9) for pair in user])
    assert run("prepare-prompts", others)[0] == 0
    before = (tmp_path / "prompts.jsonl").read_bytes()
    code, _, err = run("prepare-prompts", prefs)
    assert (code, "holds prompts of other people, choices or another judge" in err) == (2, True)
    assert (tmp_path / "prompts.jsonl").read_bytes() == before


def test_an_interrupted_command_leaves_nothing_half_written(tmp_path):
    def stopped():
        yield from ()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(write_prepared(tmp_path / "p.jsonl", stopped()))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_of_prompts_trains_nothing(run, prefs, tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    code, _, err = run("train", "bt", prefs, "--out", "m", "--base", "nowhere", "--prompts", "empty.jsonl")
    assert (code, "holds no prompt" in err, (tmp_path / "m").exists()) == (2, True, False)


def test_prompts_of_nobody_who_is_trained_on_train_nothing(run, prefs, tmp_path):
    others = write_pairs(tmp_path / "others.jsonl", [tiny_pair("x", n) for n in range(6)])
    assert run("prepare-prompts", others)[0] == 0
    code, _, err = run("train", "bt", prefs, "--out", "m", "--base", "nowhere", "--prompts", "prompts.jsonl")
    assert (code, "of none of" in err, (tmp_path / "m").exists()) == (2, True, False)
