import json

import pytest
from tests.fakes.people import damage, remove

from personalrm.testing import tiny_users, write_pairs


@pytest.fixture
def one_user(run, tmp_path):
    """u1 alone: fitted from five pairs, edited, restored, then fitted from all."""
    pairs = tiny_users(1)[0].pairs
    assert run("fit", write_pairs(tmp_path / "early.jsonl", pairs[:5]))[0] == 0
    user = pairs[0].user_id
    assert run("edit", user, "--sentence", "Prefers far longer answers than most people.")[0] == 0
    assert run("restore", user, 1)[0] == 0
    assert run("fit", write_pairs(tmp_path / "all.jsonl", pairs))[0] == 0
    return lambda *arguments: run(arguments[0], user, *arguments[1:])


def test_history_says_what_made_each_version(one_user):
    rows = json.loads(one_user("history", "--json")[1])
    assert [row["what"] for row in rows] == ["fitted", "edited", "restored", "updated"]
    assert rows[0]["what_happened"] == "fitted from 5 pairs with the embedded engine"
    assert rows[2]["what_happened"] == "restored from version 1"
    assert rows[3]["what_happened"].startswith("updated after ")


def test_history_is_read_by_people(one_user):
    code, out, _ = one_user("history")
    header, *lines = out.splitlines()
    assert code == 0
    assert header.split("  ")[-1] == "what happened"
    assert lines[1].endswith("edited by hand: 1 sentence changed")
    assert all(" UTC " in line for line in lines)


def test_history_lists_all_others_when_one_version_is_damaged(one_user, tmp_path):
    damage(tmp_path / "personalrm-home", "u0", 2)
    code, out, err = one_user("history")
    assert code == 3
    assert "restored from version 1" in out
    assert "v2" in out.splitlines()[2]
    assert "cannot be read" in out.splitlines()[2]
    assert "version 2 of user" in err


def test_a_version_after_a_damaged_one_does_not_pretend_to_know_what_changed(one_user, tmp_path):
    damage(tmp_path / "personalrm-home", "u0", 3)
    last = json.loads(one_user("history", "--json")[1])[-1]
    assert last["what"] == "unknown"


def test_show_says_which_version_is_damaged_and_where_to_go_back_to(one_user, tmp_path):
    damage(tmp_path / "personalrm-home", "u0", 4)
    remove(tmp_path / "personalrm-home", "u0", 3)
    code, _, err = one_user("show")
    assert code == 1
    assert "version 4 of user" in err
    assert "version 2 with show --version-number 2 and go back to it with restore" in err
    assert one_user("restore", 2)[0] == 0
    assert one_user("show")[0] == 0
