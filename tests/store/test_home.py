import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from personalrm.errors import CorruptFile, NewerVersion, StoreError, UnknownUser
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.store.home import Home


def prompt(user_id="u1", text="Likes tea."):
    return PersonalPrompt(user_id, Persona((Claim(text),)))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_a_saved_prompt_is_loaded_again(home):
    assert home.save(prompt()) == 1
    assert home.load("u1") == prompt()


def test_the_same_prompt_makes_no_new_version(home):
    assert [home.save(prompt()), home.save(prompt()), home.save(prompt(text="Likes coffee."))] == [1, 1, 2]
    assert [version.number for version in home.versions("u1")] == [1, 2]
    assert home.load("u1", 1) == prompt()


def test_an_unknown_user_or_version_is_named(home):
    with pytest.raises(UnknownUser, match="'u9'"):
        home.load("u9")
    home.save(prompt())
    with pytest.raises(UnknownUser, match="no version 7"):
        home.load("u1", 7)


@pytest.mark.parametrize("user_id", ["../../etc/passwd", "/root", "a\\b", "🦊" * 3000, ".", "u'; DROP TABLE users"])
def test_no_user_id_leaves_the_folder(home, user_id):
    home.save(prompt(user_id))
    assert home.load(user_id).user_id == user_id
    assert {path.name for path in home.path.iterdir()} == {"users", "index.jsonl"}
    assert user_id not in os.listdir(home.path / "users")


def test_ids_that_differ_in_case_are_two_users(home):
    home.save(prompt("Ann"))
    home.save(prompt("ann"))
    assert sorted(home.users()) == ["Ann", "ann"]


def test_a_version_without_its_index_line_still_counts(home):
    home.save(prompt())
    (home.path / "index.jsonl").unlink()
    (version,) = home.versions("u1")
    assert (version.number, version.date) == (1, "")


def test_an_index_cut_short_loses_no_prompt(home):
    home.save(prompt())
    home.save(prompt(text="Likes coffee."))
    index = home.path / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-30])
    assert [bool(version.date) for version in home.versions("u1")] == [True, False]


def test_the_version_after_a_cut_index_line_keeps_its_date(home):
    home.save(prompt())
    index = home.path / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-30])
    home.save(prompt(text="Likes coffee."))
    assert [bool(version.date) for version in home.versions("u1")] == [False, True]


@pytest.mark.parametrize("damage", ["[" * 200_000, "\x00\ufffd", '{"user": [', "7"])
def test_a_damaged_index_line_stops_neither_history_nor_delete(home, damage):
    home.save(prompt())
    with (home.path / "index.jsonl").open("a") as index:
        index.write(damage)
    assert [bool(version.date) for version in home.versions("u1")] == [True]
    assert home.delete("u1") == 1


def test_delete_erases_a_cut_index_line_of_the_user_too(home):
    home.save(prompt())
    index = home.path / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-10])
    home.delete("u1")
    assert index.read_text() == ""


def test_temporary_files_of_a_killed_run_are_no_versions(home):
    home.save(prompt())
    folder = next((home.path / "users").iterdir())
    (folder / ".new-abc").write_text('{"half": ')
    assert [version.number for version in home.versions("u1")] == [1]


def test_a_damaged_or_newer_version_is_refused(home):
    home.save(prompt())
    path = next((home.path / "users").iterdir()) / "v0001.json"
    text = path.read_text()
    path.write_text(text[:40])
    with pytest.raises(CorruptFile, match=r"v0001\.json"):
        home.load("u1")
    path.write_text(json.dumps(json.loads(text) | {"format_version": 3}))
    with pytest.raises(NewerVersion):
        home.load("u1")


def test_a_prompt_of_another_user_in_the_wrong_place_is_refused(home):
    home.save(prompt("a"))
    home.save(prompt("b"))
    first, second = sorted((home.path / "users").iterdir())
    (first / "v0001.json").write_bytes((second / "v0001.json").read_bytes())
    with pytest.raises(CorruptFile, match="is the prompt of user"):
        [home.load(user) for user in ("a", "b")]
    with pytest.raises(CorruptFile, match="is the prompt of user"):
        list(home.export())


@pytest.mark.parametrize("content", ["", "[]", '{"user_id": "u1"', "\xff"])
def test_export_refuses_a_damaged_version_as_load_does(home, content):
    home.save(prompt())
    (next((home.path / "users").iterdir()) / "v0001.json").write_text(content, encoding="latin-1")
    with pytest.raises(CorruptFile, match=r"v0001\.json"):
        list(home.export("u1"))


def test_an_undamaged_prompt_is_newest_and_nothing_is_set_aside(home):
    assert home.newest_or_set_aside("u1") == (None, "")
    home.save(prompt())
    assert home.newest_or_set_aside("u1") == (prompt(), "")


@pytest.mark.parametrize("content", ["", "[]", '{"format_version": 1, "user_id": "u1"}'])
def test_a_damaged_version_is_set_aside_and_its_number_is_not_given_again(home, content):
    home.save(prompt())
    folder = next((home.path / "users").iterdir())
    (folder / "v0002.json").write_text(content)
    newest, sentence = home.newest_or_set_aside("u1")
    assert (newest, "v0002.json.damaged" in sentence) == (prompt(), True)
    assert (folder / "v0002.json.damaged").read_text() == content
    assert [home.save(prompt()), home.save(prompt(text="Likes coffee."))] == [1, 3]


def test_a_folder_in_place_of_a_version_is_set_aside(home):
    home.save(prompt())
    folder = next((home.path / "users").iterdir())
    (folder / "v0002.json").mkdir()
    with pytest.raises(CorruptFile, match="is a folder"):
        home.load("u1")
    assert home.newest_or_set_aside("u1")[0] == prompt()


def test_a_prompt_of_another_user_is_set_aside_and_the_user_starts_anew(home):
    home.save(prompt("a"))
    (folder,) = (home.path / "users").iterdir()
    home.save(prompt("b"))
    (folder / "v0001.json").write_bytes(next(home.path.glob(f"users/[!{folder.name[0]}]*/v0001.json")).read_bytes())
    assert home.newest_or_set_aside("a")[0] is None
    assert [home.save(prompt("a")), home.load("a")] == [2, prompt("a")]


def test_setting_aside_never_replaces_what_was_set_aside_before(home):
    home.save(prompt())
    folder = next((home.path / "users").iterdir())
    for content in ("one", "two"):
        (folder / "v0001.json").write_text(content)
        home.newest_or_set_aside("u1")
    assert [(folder / f"v0001.json.damaged{end}").read_text() for end in ("", "1")] == ["one", "two"]


def test_a_newer_version_is_not_damage(home):
    home.save(prompt())
    path = next((home.path / "users").iterdir()) / "v0001.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 3'))
    with pytest.raises(NewerVersion):
        home.newest_or_set_aside("u1")


def test_export_reports_a_damaged_version_and_goes_on(home):
    home.save(prompt("a"))
    home.save(prompt("b"))
    next(home.path.glob("users/*/v0001.json")).write_text("")
    reported = []
    assert len(list(home.export(report=reported.append))) == 1
    assert [type(error) for error in reported] == [CorruptFile]


def test_delete_erases_the_user_everywhere_and_nobody_else(home):
    home.save(prompt("a"))
    home.save(prompt("b"))
    assert home.delete("a") == 1
    assert list(home.users()) == ["b"]
    assert len((home.path / "index.jsonl").read_text().splitlines()) == 1
    with pytest.raises(UnknownUser):
        home.delete("a")


def test_delete_erases_what_a_killed_run_left_of_a_user_without_versions(home):
    home.save(prompt())
    folder = next((home.path / "users").iterdir())
    (folder / "v0001.json").rename(folder / ".new-abc")
    assert home.delete("u1") == 0
    assert not folder.exists()


def test_delete_ends_what_a_killed_delete_began(home):
    home.save(prompt())
    shutil.rmtree(home.path / "users")
    assert home.delete("u1") == 0
    assert (home.path / "index.jsonl").read_text() == ""


def test_export_holds_every_version_and_no_dates(home):
    home.save(prompt())
    home.save(prompt(text="Likes coffee."))
    lines = [json.loads(line) for line in home.export("u1")]
    assert [line["version"] for line in lines] == [1, 2]
    assert list(home.export()) == list(home.export("u1"))
    assert "date" not in json.dumps(lines)


def test_a_home_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Home(tmp_path / "home").save(prompt())


def test_a_full_disk_is_one_clear_error_and_loses_nothing(home):
    home.save(prompt())
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "from personalrm.store.home import Home\nfrom personalrm.preferences.personal_prompts import PersonalPrompt\n"
        "from personalrm.preferences.personas import Persona\nfrom personalrm.errors import StoreError\n"
        "try: Home(sys.argv[1]).save(PersonalPrompt('u1', Persona()))\nexcept StoreError as error: print(error)"
    )
    assert resource.RLIMIT_FSIZE is not None
    out = subprocess.run(
        [sys.executable, "-c", code, str(home.path)], capture_output=True, text=True, check=True
    ).stdout
    assert "cannot be written" in out
    assert home.load("u1") == prompt()


@pytest.mark.slow
def test_two_processes_may_save_into_one_home(home):
    code = (
        "import sys\nfrom personalrm.store.home import Home\nfrom personalrm.preferences.personal_prompts import PersonalPrompt\n"
        "from personalrm.preferences.personas import Claim, Persona\n"
        "for k in range(40): Home(sys.argv[1]).save(PersonalPrompt('u1', Persona((Claim(f'{sys.argv[2]} {k}'),))))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(home.path), name]) for name in ("a", "b")]
    assert [process.wait() for process in running] == [0, 0]
    texts = [home.load("u1", version.number).persona.text for version in home.versions("u1")]
    assert sorted(texts) == sorted(f"{name} {k}" for name in ("a", "b") for k in range(40))


def test_the_bytes_of_a_version_hold_no_date(home):
    home.save(prompt())
    first = next((home.path / "users").iterdir()) / "v0001.json"
    assert replace(prompt()) == home.load("u1")
    assert b"202" not in first.read_bytes()


@pytest.fixture
def without_links(monkeypatch):
    """A file system such as exFAT, which has no hard links."""

    def refuse(*_names):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("without_links")
def test_a_file_system_without_hard_links_keeps_versions_too(home):
    assert [home.save(prompt()), home.save(prompt(text="Likes coffee."))] == [1, 2]
    assert [home.load("u1", 1), home.load("u1", 2)] == [prompt(), prompt(text="Likes coffee.")]
    assert list(home.path.rglob(".new-*")) == []


@pytest.mark.usefixtures("without_links")
def test_without_hard_links_no_version_of_another_writer_is_replaced(home):
    texts = [f"Likes tea {k}." for k in range(20)]
    with ThreadPoolExecutor(4) as writers:
        numbers = list(writers.map(lambda text: home.save(prompt(text=text)), texts))
    assert sorted(numbers) == list(range(1, 21))
    assert [home.load("u1", number) for number in numbers] == [prompt(text=text) for text in texts]
