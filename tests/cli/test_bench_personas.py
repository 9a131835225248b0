from __future__ import annotations

import json

import pytest
from tests.fakes.trust import inducing, matching

from personalrm.cli import main
from personalrm.testing.fake_server import FakeServer

pytestmark = pytest.mark.slow  # a run of the benchmark and its report


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("personas")
    (path / "run.yaml").write_text(
        "name: people\ndatasets: [{name: people, path: example, min_pairs: 3, shows_texts: true}]\n"
        "methods: [just_persona]\nshuffled_users: {embedded: 0}\n",
        encoding="utf-8",
    )
    assert main(["bench", "run", "-c", str(path / "run.yaml"), "--folder", str(path / "run")]) == 0
    return path / "run"


def personas(capsys, folder, *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", "personas", str(folder), *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_all_questions_are_asked_without_a_model_and_fill_their_places(capsys, run_folder):
    code, out, _ = personas(capsys, run_folder, "--surveys", "example")
    assert (code, out.count("people, just_persona, embedded")) == (0, 4)
    assert main(["bench", "report", str(run_folder)]) == 0
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert all(f'id="table-{name}"' in page for name in ("persona-validity", "persona-map", "persona-flips"))
    assert "Not asked yet" not in page and "less hedged wording" in page


def test_the_same_question_asked_again_writes_the_same_bytes(capsys, run_folder):
    wanted = ("--surveys", "example", "--only", "validity,concepts")
    personas(capsys, run_folder, *wanted)
    before = {path: path.read_bytes() for path in (run_folder / "experiments").iterdir()}
    personas(capsys, run_folder, *wanted)
    assert {path: path.read_bytes() for path in (run_folder / "experiments").iterdir()} == before


def test_a_scripted_model_is_named_as_one(capsys, run_folder, tmp_path):
    def rule(messages):
        is_validity = "<second>" in messages[-1]["content"]
        return (matching(1.0) if is_validity else inducing())(messages)

    with FakeServer(rule) as server:
        model = ("--model", "m", "--base-url", server.url, "--scripted", "--home", str(tmp_path / "home"))
        code, _, _ = personas(capsys, run_folder, "--surveys", "example", "--only", "validity,concepts", *model)
    results = [json.loads(path.read_text()) for path in (run_folder / "experiments").glob("validity.*")]
    assert (code, [(result["is_scripted"], result["judge"]) for result in results]) == (0, [(True, "m")])


def test_without_surveys_the_other_questions_are_asked(capsys, run_folder):
    code, out, _ = personas(capsys, run_folder)
    assert (code, "validity" in out, "concepts" in out) == (0, False, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--only", "validity"), "validity needs --surveys"),
        (("--only", "horoscope"), "unknown question 'horoscope'"),
        (("--surveys", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--max-calls", "3"), "--max-calls needs --model"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(capsys, run_folder, arguments, says):
    code, _, err = personas(capsys, run_folder, *arguments)
    assert (code, says in err, err.count("\n")) == (2, True, 1)


def test_surveys_of_other_people_leave_validity_unmeasured_and_say_so(capsys, run_folder, tmp_path):
    path = tmp_path / "surveys.jsonl"
    path.write_text('{"user_id": "nobody", "demographics": {"age": "40"}, "stated_preference": "Be brief."}\n')
    code, _, err = personas(capsys, run_folder, "--surveys", str(path), "--only", "validity")
    assert (code, "no user of these personas states a preference" in err) == (3, True)


def test_a_folder_without_a_run_or_without_personas_is_refused(capsys, tmp_path):
    code, _, err = personas(capsys, tmp_path)
    assert (code, "no stored personas" in err) == (2, True)


def test_a_damaged_finding_is_named_in_the_report_and_the_rest_reported(capsys, run_folder):
    path = run_folder / "experiments" / "validity.damaged.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"cut', encoding="utf-8")
    try:
        assert main(["bench", "report", str(run_folder)]) == 3
        assert "left out: " in (told := capsys.readouterr().err) and "validity.damaged.json" in told
        assert "validity.damaged.json" in (run_folder / "report.md").read_text(encoding="utf-8")
    finally:
        path.unlink()
