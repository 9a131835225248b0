import json
import shutil


def folders(tmp_path):
    return sorted((tmp_path / "personalrm-home" / "users").iterdir())


def test_users_are_listed_by_id_with_pairs_versions_and_date(fitted):
    rows = json.loads(fitted("users", "--json")[1])
    assert [row["user_id"] for row in rows] == sorted(f"u{number}" for number in range(8))
    assert {(row["versions"], row["engine"], row["problem"]) for row in rows} == {(1, "embedded", "")}
    assert all(row["newest_date"].endswith("Z") and row["pairs"] for row in rows)


def test_the_list_for_people_ends_with_the_number_of_users(fitted):
    code, out, _ = fitted("users")
    assert code == 0
    assert out.splitlines()[-1] == "8 users in personalrm-home"
    assert "UTC  embedded" in out


def test_a_user_whose_newest_version_is_damaged_is_still_named(fitted, tmp_path):
    assert fitted("edit", "u1", "--sentence", "Prefers far longer answers than most people.")[0] == 0
    next((tmp_path / "personalrm-home").glob("users/*/v0002.json")).write_text("{")
    code, out, err = fitted("users")
    assert code == 3
    assert next(line for line in out.splitlines() if "u1 " in line).endswith("newest is damaged")
    assert "v0002.json is not JSON" in err


def test_a_user_of_whom_nothing_can_be_read_is_listed_by_folder(fitted, tmp_path):
    damaged = folders(tmp_path)[0]
    (damaged / "v0001.json").write_text("")
    code, out, _ = fitted("users")
    assert code == 3
    assert f"(unreadable, users/{damaged.name})" in out


def test_a_home_without_users_says_how_to_make_them(fitted, tmp_path):
    shutil.rmtree(tmp_path / "personalrm-home" / "users")
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
