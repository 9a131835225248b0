import json
import subprocess
import sys

import pytest

from personalrm import Home
from personalrm.testing import tiny_users


def test_users_are_listed_by_id_with_pairs_versions_and_date(fitted):
    rows = json.loads(fitted("users", "--json")[1])
    assert [row["user_id"] for row in rows] == sorted(f"u{number}" for number in range(8))
    assert {(row["versions"], row["engine"]) for row in rows} == {(1, "embedded")}
    assert all(row["newest_date"].endswith("Z") and row["pairs"] for row in rows)


def test_the_list_for_people_ends_with_the_number_of_users(fitted):
    code, out, _ = fitted("users")
    assert code == 0
    assert out.splitlines()[-1] == "8 users in personalrm-home"
    assert "UTC  embedded" in out


def test_a_person_with_choices_and_no_prompt_is_listed(run, tmp_path):
    with Home(tmp_path / "personalrm-home") as home:
        home.add(tiny_users(1)[0])
    assert run("users")[1].splitlines()[1].endswith("not fitted yet")


def test_a_home_without_users_says_how_to_make_them(fitted):
    for number in range(8):
        fitted("delete", f"u{number}", "--yes")
    assert fitted("users")[:2] == (0, "no users in personalrm-home; personalrm fit FILE makes them\n")


def test_a_home_that_is_not_there_is_refused(run):
    code, _, err = run("users", "--home", "nowhere")
    assert code == 2
    assert "'nowhere' is not there" in err


def test_a_command_without_its_user_says_who_lists_them(run):
    assert run("show")[::2] == (
        2,
        "personalrm: the following arguments are required: user; personalrm users lists them\n",
    )


def test_of_many_the_first_are_listed_and_the_rest_counted(fitted, monkeypatch):
    monkeypatch.setattr("personalrm.cli.users.MOST_LISTED", 3)
    lines = fitted("users")[1].splitlines()
    assert (len(lines), lines[-1]) == (5, "the first 3 of 8 users in personalrm-home; --all lists everybody")
    assert (len(fitted("users", "--all")[1].splitlines()), len(json.loads(fitted("users", "--json")[1]))) == (10, 8)


@pytest.mark.parametrize("command", [["users"], ["show", "u0"], ["show", "u0", "--evidence"], ["history", "u0"]])
def test_who_only_looks_waits_for_no_slow_import(fitted, command):
    """To import SQLAlchemy and numpy takes twice as long as all that these commands do."""
    code = (
        "import sys; from personalrm.cli import main; main(sys.argv[1:]); "
        "print(sorted({'sqlalchemy', 'alembic', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (fitted(*command)[1], "[]\n")
