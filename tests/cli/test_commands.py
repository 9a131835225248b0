import io
import json

import pytest
from tests.fakes.people import damage, saved

from personalrm.cli import COMMANDS
from personalrm.testing import LONG, SHORT, tiny_pair, tiny_users, write_pairs

pytestmark = pytest.mark.slow


def test_fit_saves_every_user_and_a_second_run_changes_nothing(run, prefs, tmp_path):
    assert run("fit", prefs, "--json")[0] == 0
    before = saved(tmp_path / "personalrm-home")
    code, out, _ = run("fit", prefs, "--json")
    report = json.loads(out)
    assert (code, report["n_fitted"], report["n_unchanged"]) == (0, 0, 8)
    assert saved(tmp_path / "personalrm-home") == before


def test_fit_of_one_user_leaves_the_others_alone(run, prefs):
    code, out, _ = run("fit", prefs, "--user", "u3", "--json")
    assert (code, json.loads(out)["n_fitted"]) == (0, 1)
    assert run("show", "u3")[0] == 0
    assert run("show", "u4")[0] == 2


def test_a_dry_run_spends_and_writes_nothing(run, prefs, tmp_path):
    code, out, _ = run("fit", prefs, "--dry-run")
    assert (code, "0 calls" in out) == (0, True)
    assert not (tmp_path / "personalrm-home").exists()


def test_new_pairs_make_a_new_version_with_the_old_roles(fitted, tmp_path):
    pairs = [pair for user in tiny_users(8) for pair in user] + [tiny_pair("u1", 50)]
    assert fitted("fit", write_pairs(tmp_path / "more.jsonl", pairs))[0] == 0
    versions = json.loads(fitted("history", "u1", "--json")[1])
    assert [version["version"] for version in versions] == [1, 2]
    lines = map(json.loads, fitted("export", "u1")[1].splitlines())
    roles = [line["prompt"]["roles"] for line in lines if "prompt" in line]
    assert roles[0].items() <= roles[1].items()


def test_show_prints_the_persona_and_every_form(fitted):
    assert "learned from 6 pairs" in fitted("show", "u1", "--evidence")[1]
    assert json.loads(fitted("show", "u1", "--as", "json")[1])["user_id"] == "u1"
    assert json.loads(fitted("show", "u1", "--as", "judge-messages")[1])[0]["role"] == "system"
    assert "Answer the way" in fitted("show", "u1", "--as", "generation-prompt")[1]
    assert fitted("show", "u1", "--as", "markdown")[1].startswith("# u1")


def judge_file(tmp_path, **row):
    path = tmp_path / "new.jsonl"
    path.write_text(json.dumps({"prompt": "How do I get there?"} | row) + "\n", encoding="utf-8")
    return path


def test_judge_decides_as_the_user_would(fitted, tmp_path):
    path = judge_file(tmp_path, first=SHORT, second=LONG)
    short, long = (json.loads(fitted("judge", path, "-u", user, "--json")[1])["choice"] for user in ("u1", "u0"))
    assert (short, long) == ("first", "second")


def test_judge_counts_known_choices_right_or_wrong(fitted, tmp_path):
    path = judge_file(tmp_path, chosen=SHORT, rejected=LONG, user_id="u1")
    assert json.loads(fitted("judge", path, "--json")[1])["correct"] == 1.0
    assert "right" in fitted("judge", path)[1]


def test_judge_ends_with_a_total_and_warns_of_choices_the_prompts_were_made_from(fitted, prefs, tmp_path):
    _, out, err = fitted("judge", prefs)
    assert (out.splitlines()[-1], "made from 48 of these 48 choices" in err) == (
        "48 right, 0 wrong, 0 ties of 48",
        True,
    )
    new = judge_file(tmp_path, chosen=LONG, rejected=SHORT, user_id="u1")
    _, out, err = fitted("judge", new)
    assert (out.splitlines()[-1], err) == ("0 right, 1 wrong, 0 ties of 1", "")


def test_the_total_goes_to_stderr_beside_json(fitted, tmp_path):
    _, out, err = fitted("judge", judge_file(tmp_path, chosen=SHORT, rejected=LONG, user_id="u1"), "--json")
    assert (len(out.splitlines()), json.loads(out)["seen"], "1 right" in err) == (1, False, True)


def test_judge_allows_identical_completions(fitted, tmp_path):
    code, out, _ = fitted("judge", judge_file(tmp_path, first="a", second="a", user_id="u1"), "--json")
    assert (code, json.loads(out)["choice"]) == (0, None)


def test_rank_puts_the_best_first(fitted, tmp_path):
    path = judge_file(tmp_path, completions=[LONG, SHORT], user_id="u1")
    assert json.loads(fitted("rank", path, "--json")[1])["best"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"first": "a", "second": "b"}, "user_id is missing"),
        ({"first": "a", "user_id": "u1"}, "second is missing"),
        ({"first": "a", "second": 3, "user_id": "u1"}, "second has content that is a whole number"),
        ({"first": "a", "second": " ", "user_id": "u1"}, "second is blank"),
        ({"chosen": "a", "rejected": "a", "user_id": "u1"}, "identical"),
        ({"prompt": 3, "first": "a", "second": "b", "user_id": "u1"}, "prompt is a whole number"),
        ({"prompt": None, "first": "a", "second": "b", "user_id": "u1"}, "conversation is missing"),
        ({"prompt": [{"role": "x", "content": "y"}], "first": "a", "second": "b", "user_id": "u1"}, "role 'x'"),
    ],
)
def test_judge_lists_bad_rows_and_judges_nothing(fitted, tmp_path, row, message):
    code, out, err = fitted("judge", judge_file(tmp_path, **row))
    assert (code, out) == (2, "")
    assert message in err
    assert fitted("judge", judge_file(tmp_path, **row), "--skip-bad")[0] == 3


def test_rows_of_unknown_users_are_bad_rows_among_the_others(fitted, tmp_path):
    rows = [{"user_id": user, "prompt": "Hi?", "first": SHORT, "second": LONG} for user in ("u1", "zed", "zoe")]
    (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    code, out, err = fitted("judge", "new.jsonl")
    assert (code, out, "line 2: user 'zed'" in err, "line 3: user 'zoe'" in err) == (2, "", True, True)
    code, out, err = fitted("judge", "new.jsonl", "--skip-bad", "--json")
    assert (code, json.loads(out)["user_id"], "2 bad rows left out" in err) == (3, "u1", True)


def test_judging_as_an_unknown_user_is_refused_once(fitted, tmp_path):
    code, out, err = fitted("judge", judge_file(tmp_path, first="a", second="b"), "--user", "zed", "--skip-bad")
    assert (code, out, err.count("zed")) == (2, "", 1)


def message(text, role="assistant"):
    return {"role": role, "content": text}


ASKED = message("How do I get there?", "user")


@pytest.mark.parametrize(
    "row",
    [
        {"user_id": 7, "prompt": "Hi?", "chosen": SHORT, "rejected": LONG},
        {"user_id": 7, "prompt": [ASKED], "chosen": [message(SHORT)], "rejected": [message(LONG)]},
        {"user_id": 7, "chosen": [ASKED, message(SHORT)], "rejected": [ASKED, message(LONG)]},
        {"user_id": 7, "conversation": None, "prompt": "Hi?", "chosen": SHORT, "rejected": LONG},
        {"user_id": 7, "prompt": "", "chosen": {"content": [{"type": "text", "text": SHORT}]}, "rejected": LONG},
    ],
)
def test_what_fit_accepts_judge_accepts(run, tmp_path, row):
    (tmp_path / "row.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert run("fit", "row.jsonl")[0] == 0
    assert run("judge", "row.jsonl")[0] == 0


def test_rank_takes_completions_as_messages(fitted, tmp_path):
    path = judge_file(tmp_path, completions=[[message(LONG)], message(SHORT)], user_id="u1", conversation=None)
    assert json.loads(fitted("rank", path, "--json")[1])["best"] == 1


def test_evaluate_prints_every_row_with_users_pairs_and_intervals(run, prefs):
    code, out, _ = run("evaluate", prefs, "--halves", "--by-context", "1,2")
    assert code == 0
    for word in (
        "8 users",
        "0 unscored",
        "personal",
        "shuffled_user",
        "population",
        "just_persona",
        "longer",
        "95 % interval",
        "test half",
    ):
        assert word in out


def test_evaluate_gives_json(run, prefs):
    rows = json.loads(run("evaluate", prefs, "--json", "--methods", "personal,longer")[1])["tables"]["all users"][
        "rows"
    ]
    assert set(rows) == {"population", "personal", "longer"}
    assert rows["personal"]["accuracy"]["n_users"] == 8


def test_evaluate_of_one_user_uses_the_shipped_prior_and_says_so(run, tmp_path):
    path = write_pairs(tmp_path / "one.jsonl", tiny_users(1, 10)[0].pairs)
    code, out, _ = run("evaluate", path, "--halves", "--by-context", "1")
    assert (code, "note: one user is not a population: the shipped prior" in out) == (0, True)
    assert "personal" in out
    assert "shuffled_user  " not in out
    assert run("demo", "--file", path)[0] == 0


def test_evaluate_says_that_a_half_is_empty_and_prints_the_rest(run, tmp_path):
    """u3 is in the test half only."""
    path = write_pairs(tmp_path / "one.jsonl", [tiny_pair("u3", k) for k in range(8)])
    code, out, _ = run("evaluate", path, "--halves")
    assert (code, "all users" in out, "test half: 1 user, " in out) == (0, True, True)
    assert "note: no user is in the development half" in out


def test_evaluate_allows_spaces_between_methods(run, prefs):
    tables = json.loads(run("evaluate", prefs, "--json", "--methods", " population, longer")[1])["tables"]
    assert set(tables["all users"]["rows"]) == {"population", "longer"}


def test_evaluate_refuses_saved_prompts_that_saw_the_targets(fitted, prefs):
    code, _, err = fitted("evaluate", prefs, "--saved")
    assert code == 2
    assert "which is to be scored" in err


@pytest.fixture
def declared(tmp_path):
    """A file that names its targets, so that a fit of it sees none of them."""
    pairs = [pair for user in tiny_users(8, 10) for pair in user]
    targets_named = [
        tiny_pair(
            p.user_id,
            int(p.order_index),
            likes_long=len(p.chosen) > len(p.rejected),
            split="target" if p.order_index > 6 else "train",
        )
        for p in pairs
    ]
    return write_pairs(tmp_path / "declared.jsonl", targets_named)


def test_evaluate_scores_saved_prompts_made_from_context(run, declared):
    assert run("fit", declared)[0] == 0
    code, out, _ = run("evaluate", declared, "--saved", "--methods", "personal")
    assert (code, "saved prompts  100.0 %" in out) == (0, True)


def test_evaluate_leaves_damaged_saved_prompts_out_and_says_so(run, declared, tmp_path):
    assert run("fit", declared)[0] == 0
    damage(tmp_path / "personalrm-home", "u1", content="")
    code, out, err = run("evaluate", declared, "--saved", "--methods", "personal")
    assert (code, "7 users, 21 pairs" in out, "user 'u1': " in err) == (3, True, True)


def test_evaluate_keeps_its_table_when_no_saved_prompt_can_be_read(run, declared, tmp_path):
    assert run("fit", declared)[0] == 0
    for number in range(8):
        damage(tmp_path / "personalrm-home", f"u{number}", content="")
    code, out, err = run("evaluate", declared, "--saved", "--methods", "personal")
    assert (code, "all users" in out, len(err.splitlines())) == (3, True, 8)


def test_validate_counts_rows_users_and_problems(run, prefs, tmp_path):
    assert "every row can be used" in run("validate", prefs)[1]
    bad = tmp_path / "bad.jsonl"
    bad.write_text(prefs.read_text() + "{\n", encoding="utf-8")
    assert (run("validate", bad)[0], run("validate", bad, "--skip-bad")[0]) == (2, 3)
    assert "1 row cannot be used" in run("validate", bad)[1]
    assert json.loads(run("validate", bad, "--json")[1])["problems"][0]["line"] == 49


def test_export_of_everybody_leaves_a_damaged_version_out_and_says_so(fitted, tmp_path):
    damage(tmp_path / "personalrm-home", "u1", content="")
    code, out, err = fitted("export")
    assert (code, sum('"prompt"' in line for line in out.splitlines()), "version 1 of user 'u1'" in err) == (3, 7, True)


def test_delete_asks_first_and_then_erases(fitted):
    assert fitted("delete", "u1")[0] == 2
    assert fitted("delete", "u1", "--yes")[0] == 0
    assert fitted("show", "u1")[0] == 2
    assert fitted("show", "u2")[0] == 0


def test_the_demo_runs_on_another_file_and_fails_on_a_missing_one(run, prefs):
    code, out, _ = run("demo", "--file", prefs)
    assert (code, "8 people, 48 choices" in out) == (0, True)
    assert run("demo", "--file", "nothing.jsonl")[0] == 2


def test_the_demo_shows_persona_evidence_verdict_and_accuracy(run):
    code, out, _ = run("demo")
    assert code == 0
    for word in (
        "than most people",
        "for:",
        "such as",
        "verdict",
        "really chose",
        "the longer answer",
        "what most people like",
        "control",
        "this person's taste",
        "95 % interval",
    ):
        assert word in out


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
def test_every_command_has_help_with_an_example(run, module):
    code, out, _ = run(module.__name__.rpartition(".")[2].rstrip("_").replace("_", "-"), "--help")
    assert (code, "example: personalrm" in out.replace("\n", " ")) == (0, True)


def test_a_single_persons_ratings_need_no_user_column(run, tmp_path):
    row = {"prompt": "Hi?", "completions": [{"content": "Yes.", "rating": 7}, {"content": "No.", "rating": 4}]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row), encoding="utf-8")
    code, out, _ = run("validate", tmp_path / "mine.jsonl", "--default-user", "me")
    assert (code, "1 row, 1 pair, 1 user" in out) == (0, True)
    code, out, _ = run("validate", tmp_path / "mine.jsonl", "--default-user", "me", "--min-gap", "4")
    assert "0 pairs" in out


def test_rows_to_judge_may_come_from_standard_input(fitted, monkeypatch):
    row = {"user_id": "u1", "prompt": "Hi?", "first": "Yes.", "second": "No."}
    stdin = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + json.dumps(row).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    code, out, _ = fitted("judge", "-", "--json")
    assert (code, json.loads(out)["user_id"]) == (0, "u1")
