import json
import shutil

import pytest
from tests.fakes.command import output_of

from personalrm.preferences.people import example_users
from personalrm.testing import tiny_pair, tiny_users, write_pairs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown")
    users = example_users()
    early = [pair for user in users for pair in user.pairs if user.user_id != "nadia" or pair.id < "nadia-p10"]
    home = ("--home", folder / "personalrm-home")
    output_of("fit", write_pairs(folder / "early.jsonl", early), *home)
    output_of("fit", write_pairs(folder / "all.jsonl", [pair for user in users for pair in user]), *home)
    return folder


@pytest.fixture
def grown(run, grown_folder, tmp_path):
    """The example people fitted twice: nadia with nine choices first, then with all."""
    shutil.copytree(grown_folder, tmp_path, dirs_exist_ok=True)
    return run


def candidates(tmp_path, *rows):
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(json.dumps({"prompt": "How do I get there?"} | row) + "\n" for row in rows))
    return path


SHORT_LONG = {
    "first": "By train.",
    "second": "By train, early, on the left side, with a lot of food and patience. " * 5,
}


def test_history_says_what_changed_in_each_version(grown):
    first, second = json.loads(grown("history", "nadia", "--json")[1])
    assert (first["pairs_added"], first["sentences_added"], first["drift"]) == (9, 1, None)
    assert (second["pairs_added"], second["sentences_changed"], second["drift"]["pair_number"]) == (5, 1, 8)
    assert "since pair 8" in grown("history", "nadia")[1]


def test_diff_shows_the_sentence_the_pairs_and_the_change_of_taste(grown):
    code, out, _ = grown("diff", "nadia")
    assert code == 0
    assert "pairs 9 -> 14 (+5, -0)" in out
    assert "=> Since about pair 8 prefers far shorter answers" in out
    assert "now for: nadia-p08" in out
    assert "drift: taste changed about pair 8 of 14 (nadia-p08)" in out


def test_diff_takes_any_two_versions_in_either_order(grown):
    forward, back = (json.loads(grown("diff", "nadia", *pair, "--json")[1]) for pair in ((1, 2), (2, 1)))
    assert (forward["pairs_added"], back["pairs_removed"]) == (5, 5)
    assert json.loads(grown("diff", "nadia", 2, "--json")[1])["after"] == 2
    assert "nothing changed" in grown("diff", "nadia", 1, 1)[1]


def test_the_saved_prompt_carries_the_change_and_loads_again(grown):
    content = json.loads(grown("show", "nadia", "--as", "json")[1])
    assert (content["format_version"], content["drift"]["pair_id"]) == (2, "nadia-p08")
    other = json.loads(grown("show", "mara", "--as", "json")[1])
    assert (other["format_version"], "drift" in other) == (1, False)


def test_a_second_fit_of_the_same_pairs_makes_no_version(grown, tmp_path):
    report = json.loads(grown("fit", tmp_path / "all.jsonl", "--json")[1])
    assert (report["n_fitted"], report["n_unchanged"]) == (0, 13)


def test_a_user_with_one_version_has_nothing_to_compare(fitted):
    code, _, err = fitted("diff", "u1")
    assert (code, "one version" in err) == (2, True)


@pytest.mark.parametrize("versions", [(7,), (1, 9), (0,), ("x",), (-1, 1)])
def test_diff_refuses_versions_that_do_not_exist(fitted, versions):
    code, _, err = fitted("diff", "u1", *versions)
    assert code == 2
    assert err


@pytest.mark.parametrize("command", ["diff", "history", "ask"])
def test_an_unknown_user_is_refused(fitted, command, tmp_path):
    path = candidates(tmp_path, SHORT_LONG)
    code, _, err = fitted(command, "nobody", *(("--candidates", path) if command == "ask" else ()))
    assert (code, "'nobody'" in err) == (2, True)


def test_ask_names_the_line_the_bits_and_the_reason(fitted, tmp_path):
    code, out, _ = fitted(
        "ask", "u1", "--candidates", candidates(tmp_path, {"first": "Yes.", "second": "No."}, SHORT_LONG)
    )
    assert code == 0
    assert out.startswith("1  line 2  0.")
    assert "would tell most about:" in out


def test_ask_takes_completions_and_pairs_and_writes_json(fitted, tmp_path):
    rows = (
        {"completions": ["By train.", "By bus.", SHORT_LONG["second"]]},
        {"chosen": "Yes.", "rejected": "No, never."},
    )
    content = json.loads(fitted("ask", "u1", "--candidates", candidates(tmp_path, *rows), "-n", 9, "--json")[1])
    assert len(content["questions"]) == 4
    assert all(0 <= question["bits"] <= 1 for question in content["questions"])


def test_ask_is_exact_with_the_pairs_at_hand(fitted, prefs, tmp_path):
    path = candidates(tmp_path, SHORT_LONG)
    code, _, err = fitted("ask", "u1", "--candidates", path, "--seen", prefs)
    assert (code, err) == (0, "")
    assert "independent" in fitted("ask", "u1", "--candidates", path)[2]


def test_ask_passes_over_what_was_answered(fitted, tmp_path):
    path = write_pairs(tmp_path / "same.jsonl", tiny_users(2)[1].pairs)
    code, out, _ = fitted("ask", "u1", "--candidates", path)
    assert (code, "nothing to ask" in out) == (0, True)


@pytest.mark.parametrize(
    "row",
    [
        {"first": "Yes."},
        {"first": "Yes.", "second": "Yes."},
        {"first": " ", "second": "Yes."},
        {"first": 3, "second": "Yes."},
        {"completions": ["Yes."]},
        {"completions": []},
        {"completions": ["Yes.", "Yes."]},
        {"first": "Yes.", "second": "No.", "prompt": None, "conversation": [{"role": "wizard", "content": "x"}]},
    ],
)
def test_a_bad_candidate_is_named_by_line_and_nothing_is_chosen(fitted, tmp_path, row):
    path = candidates(tmp_path, SHORT_LONG, row)
    code, out, err = fitted("ask", "u1", "--candidates", path)
    assert (code, out, "line 2" in err) == (2, "", True)
    assert fitted("ask", "u1", "--candidates", path, "--skip-bad")[0] == 3


@pytest.mark.parametrize(
    "flags", [("-n", "0"), ("--personalizable",), ("--candidates", "missing.jsonl"), ("--seen", "missing.jsonl")]
)
def test_ask_refuses_what_makes_no_sense(fitted, tmp_path, flags):
    path = candidates(tmp_path, SHORT_LONG)
    assert fitted("ask", "u1", "--candidates", path, *flags)[0] in (1, 2)


def test_pairs_of_somebody_else_are_no_evidence(fitted, tmp_path):
    path = candidates(tmp_path, SHORT_LONG)
    other = write_pairs(tmp_path / "other.jsonl", [tiny_pair("u9", 1)])
    code, _, err = fitted("ask", "u1", "--candidates", path, "--seen", other)
    assert (code, "'u1' has no pair" in err) == (2, True)
