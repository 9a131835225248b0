from __future__ import annotations

import json

import pytest

from personalrm.cli import main
from personalrm.preferences.people import example_path
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("ablation") / "home"
    assert main(["fit", str(example_path()), "--home", str(home)]) == 0
    return str(home)


def show(capsys, home: str, *arguments: str) -> tuple[int, str, str]:
    code = main(["show", "mara", "--home", home, *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_every_sentence_is_shown_with_its_pairs_and_with_what_it_changes(capsys, home):
    code, out, _ = show(capsys, home, "--evidence", "--ablate", str(example_path()))
    assert code == 0
    assert all(words in out for words in ("for:     mara-p01", "without it: P(real choice) -", "(Holm)"))
    assert "the persona was made from" in out


def test_json_has_the_same_numbers_and_no_nan(capsys, home):
    _, out, _ = show(capsys, home, "--ablate", str(example_path()), "--as", "json")
    found = json.loads(out, parse_constant=pytest.fail)
    assert (found["claims"][0]["is_supported"], found["claims"][0]["shift"] > 0) == (True, True)


def test_a_model_judges_within_its_calls_and_what_was_left_out_is_told(capsys, home):
    with FakeServer(skilled(1.0)) as server:
        arguments = ("--model", "scripted", "--base-url", server.url, "--max-calls", "8")
        code, out, _ = show(capsys, home, "--ablate", str(example_path()), *arguments)
    assert (code, "2 choices judged by model" in out, "left out, --max-calls" in out) == (3, True, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "m"), "--model of show judges for --ablate"),
        (("--max-calls", "5"), "--max-calls needs --model"),
        (("--ablate", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--ablate", str(example_path()), "--as", "markdown"), "--ablate prints text or JSON"),
    ],
)
def test_flags_that_say_nothing_together_are_refused(capsys, home, arguments, says):
    code, _, err = show(capsys, home, *arguments)
    assert (code, says in err, err.count("\n")) == (2, True, 1)


def test_a_file_without_the_user_is_refused(capsys, home, tmp_path):
    path = tmp_path / "others.jsonl"
    lines = example_path().read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if '"user_id": "mara"' not in line), encoding="utf-8")
    code, _, err = show(capsys, home, "--ablate", str(path))
    assert (code, "has no choice of user 'mara'" in err) == (2, True)
