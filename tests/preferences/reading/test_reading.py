import gzip
import json
import os
from pathlib import Path

import pytest

from personalrm.errors import BadFile, BadInput, UnknownName, UnknownUser
from personalrm.preferences.reading.files import ReadOptions, read_pairs, validate
from personalrm.preferences.splits import split_user

ROW = {"user_id": "u1", "prompt": "Which tea?", "chosen": "Green tea.", "rejected": "Black tea."}
DATA = os.environ.get("PERSONALRM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="PERSONALRM_DATA is not set")


def write(tmp_path: Path, *rows: object, name: str = "prefs.jsonl") -> Path:
    path = tmp_path / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rule_of(tmp_path: Path, row: object) -> str:
    (problem,) = validate(write(tmp_path, ROW, row)).problems
    assert problem.line == 2
    return problem.message


# A. accepted, normalized where needed


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    path = tmp_path / "prefs.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n" + json.dumps(ROW | {"chosen": "Mint."}).encode() + b"\n"
    )
    assert len(read_pairs(path)["u1"]) == 2


@pytest.mark.parametrize("text", ["مرحبا بالعالم", "日本語の答え", "👩‍👩‍👧‍👦 yes", "a\u202eb", "x" * 1_000_000])
def test_texts_of_any_script_and_length_are_kept_exactly(tmp_path, text):
    assert read_pairs(write(tmp_path, ROW | {"chosen": text}))["u1"].pairs[0].chosen == text


def test_a_very_long_user_id_and_an_emoji_in_it_are_kept(tmp_path):
    user_id = "🦊" + "u" * 5000
    assert list(read_pairs(write(tmp_path, ROW | {"user_id": user_id}))) == [user_id]


def test_an_empty_last_user_turn_is_accepted(tmp_path):
    row = ROW | {"prompt": [{"role": "user", "content": ""}]}
    assert len(read_pairs(write(tmp_path, row))["u1"]) == 1


def test_ids_that_differ_only_in_case_are_different_users_with_a_warning(tmp_path):
    report = validate(write(tmp_path, ROW, ROW | {"user_id": "U1"}))
    assert report.n_users == 2
    assert "differ only in case" in report.warnings[0]


def test_unknown_columns_are_kept_as_meta(tmp_path):
    assert read_pairs(write(tmp_path, ROW | {"mood": "good"}))["u1"].pairs[0].meta == {"mood": "good"}


def test_unsorted_timestamps_are_put_in_order_by_the_split(tmp_path):
    rows = [ROW | {"prompt": f"q{day}", "timestamp": f"2026-01-{day:02d}"} for day in (9, 3, 6)]
    split = split_user(read_pairs(write(tmp_path, *rows))["u1"].pairs)
    assert [pair.conversation[0].content for pair in split.train + split.validation + split.target] == [
        "q3",
        "q6",
        "q9",
    ]


def test_a_thousand_turns_are_accepted(tmp_path):
    turns = [{"role": ("user", "assistant")[k % 2], "content": str(k)} for k in range(1001)]
    assert len(read_pairs(write(tmp_path, ROW | {"prompt": turns}))["u1"].pairs[0].conversation) == 1001


def test_an_exact_duplicate_is_counted_once(tmp_path):
    pairs = read_pairs(write(tmp_path, ROW, ROW))
    assert (len(pairs["u1"]), pairs.tally.n_duplicates) == (1, 1)


def test_a_pair_with_both_outcomes_is_kept_twice_and_reported(tmp_path):
    pairs = read_pairs(write(tmp_path, ROW, ROW | {"chosen": ROW["rejected"], "rejected": ROW["chosen"]}))
    assert (len(pairs["u1"]), pairs.tally.n_both_outcomes) == (2, 1)


def test_text_parts_are_joined(tmp_path):
    parts = [{"type": "text", "text": "Green "}, {"type": "text", "text": "tea."}]
    assert (
        read_pairs(write(tmp_path, ROW | {"chosen": {"role": "assistant", "content": parts}}))["u1"].pairs[0].chosen
        == "Green tea."
    )


# B. bad rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "not an object"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 100 levels"),
        ('{"chosen": ' + "[" * 400 + "]" * 400 + "}", "nested more than 100 levels"),
        ({k: v for k, v in ROW.items() if k != "user_id"}, "user_id is missing"),
        (ROW | {"user_id": "  "}, "user_id is blank"),
        (ROW | {"user_id": ["u1"]}, "user_id is a list"),
        (ROW | {"user_id": "u\x001"}, "control character"),
        (ROW | {"chosen": ""}, "chosen is blank"),
        (ROW | {"rejected": None}, "rejected is missing or null"),
        (ROW | {"chosen": 7}, "chosen has content that is a whole number"),
        (ROW | {"rejected": ROW["chosen"]}, "identical"),
        (ROW | {"chosen": "\ud800"}, "lone surrogate"),
        (ROW | {"prompt": [{"role": "robot", "content": "hi"}]}, "role 'robot'"),
        (ROW | {"prompt": [{"content": "hi"}]}, "role None"),
        (ROW | {"prompt": [{"role": "user", "content": None}]}, "missing or null"),
        (ROW | {"prompt": [{"role": "user", "content": 3}]}, "a whole number"),
        (ROW | {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "not text"),
        (ROW | {"prompt": [{"role": "system", "content": "hi"}]}, "no user turn"),
        (ROW | {"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "ends with the assistant"),
        (ROW | {"prompt": []}, "missing or empty"),
        (ROW | {"chosen": {"role": "user", "content": "a"}}, "role 'user'"),
        (ROW | {"chosen": [{"role": "assistant", "content": "a"}] * 2}, "list of 2 messages"),
        (ROW | {"timestamp": "yesterday"}, "timestamp"),
        (ROW | {"timestamp": True}, "timestamp"),
        (ROW | {"timestamp": 10**400}, "not a finite number"),
        (ROW | {"order_index": 1.5}, "order_index"),
        (ROW | {"order_index": 10**400}, "order_index"),
        (ROW | {"conversation_id": 2.5}, "conversation_id is a number"),
        (ROW | {"split": "holdout"}, "split is 'holdout'"),
    ],
)  # fmt: skip
def test_a_bad_row_is_listed_with_its_line_and_reason(tmp_path, row, message):
    assert message in rule_of(tmp_path, row)


def test_a_pair_that_is_context_and_target_at_once_is_a_bad_row(tmp_path):
    path = write(tmp_path, ROW | {"split": "train"}, ROW | {"split": "target"})
    (problem,) = validate(path).problems
    assert (problem.line, problem.field, problem.rule) == (2, "split", "context and target at once")
    with pytest.raises(BadInput, match=r"line 2: .* context and target"):
        read_pairs(path)
    assert [pair.split for pair in read_pairs(path, ReadOptions(skip_bad=True))["u1"]] == ["train"]


@pytest.mark.parametrize("name", ["user_id", "chosen", "rejected", "prompt"])
def test_a_first_row_that_lacks_a_field_is_a_bad_row_and_the_rest_is_read(tmp_path, name):
    report = validate(write(tmp_path, {key: value for key, value in ROW.items() if key != name}, ROW))
    assert (report.n_pairs, [(problem.line, problem.rule) for problem in report.problems]) == (1, [(1, "missing")])


def test_a_wrong_role_is_shown_cut_since_it_may_be_private_text(tmp_path):
    report = validate(write(tmp_path, ROW | {"prompt": [{"role": "it's " + "x" * 1000, "content": "a"}]}))
    assert len(report.problems[0].message) < 150
    assert report.bad_by_rule == {"unknown role": 1}


def test_a_rating_that_is_not_a_number_is_a_bad_row(tmp_path):
    row = {
        "user_id": "u1",
        "prompt": "q",
        "completions": [{"content": "a", "rating": float("nan")}, {"content": "b", "rating": 2}],
    }
    assert "rating is not a finite number" in validate(write(tmp_path, row)).problems[0].message


def test_bad_rows_stop_a_reading_and_all_are_listed(tmp_path):
    with pytest.raises(BadInput) as caught:
        read_pairs(write(tmp_path, "{", ROW, ROW | {"chosen": ""}))
    assert "line 1" in str(caught.value)
    assert "line 3" in str(caught.value)


def test_skip_bad_leaves_bad_rows_out_and_counts_them(tmp_path):
    pairs = read_pairs(write(tmp_path, "{", ROW), ReadOptions(skip_bad=True))
    assert (len(pairs["u1"]), pairs.tally.n_bad_rows) == (1, 1)


def test_an_error_never_quotes_a_private_text(tmp_path):
    with pytest.raises(BadInput) as caught:
        read_pairs(write(tmp_path, ROW | {"rejected": ROW["chosen"]}))
    assert ROW["chosen"] not in str(caught.value)


# C. files that are refused


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "prefs.jsonl", "is empty"),
        (b"\n \n", "prefs.jsonl", "is empty"),
        (b"[]", "prefs.json", "is empty"),
        (b'{"a": 1}', "prefs.json", "not a JSON list"),
        (json.dumps(ROW).encode("utf-16"), "prefs.jsonl", "not UTF-8"),
        (b"hello", "prefs.txt", "unknown kind"),
        (b"not gzip", "prefs.jsonl.gz", "not a whole gzip"),
        (gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "prefs.jsonl.gz", "not a whole gzip"),
        (b"user_id,chosen,chosen\nu,a,b\n", "prefs.csv", "two columns 'chosen'"),
        (b"user_id,chosen,rejected\n", "prefs.csv", "is empty"),
        (gzip.compress(json.dumps(ROW).encode() * 50, mtime=0)[:-20], "prefs.jsonl.gz", "not a whole gzip"),
        (b"PAR1garbage", "prefs.parquet", "not a whole Parquet"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path, content, name, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadFile, match=message):
        read_pairs(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        read_pairs(tmp_path / "nothing.jsonl")
    with pytest.raises(BadFile, match="cannot be read"):
        read_pairs(tmp_path / ("long" * 200 + ".jsonl"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(BadFile, match="is a folder"):
        read_pairs(tmp_path / "folder.jsonl")


def test_columns_of_no_known_layout_are_named(tmp_path):
    with pytest.raises(UnknownName, match="bar, foo"):
        read_pairs(write(tmp_path, {"foo": 1, "bar": 2}))


def test_an_unknown_layout_and_a_missing_column_are_refused(tmp_path):
    with pytest.raises(UnknownName, match="'tables'"):
        read_pairs(write(tmp_path, ROW), ReadOptions(layout="tables"))
    with pytest.raises(UnknownName, match="'rater'"):
        read_pairs(write(tmp_path, ROW), ReadOptions(user_column="rater"))


@pytest.mark.parametrize("gap", [0.0, -1.0, float("nan"), float("inf")])
def test_a_gap_that_is_not_positive_and_finite_is_refused(gap):
    with pytest.raises(BadInput, match="min_gap"):
        ReadOptions(min_gap=gap)


def test_an_unknown_user_is_refused_with_the_nearest_id(tmp_path):
    with pytest.raises(UnknownUser, match="did you mean 'u1'"):
        read_pairs(write(tmp_path, ROW))["u11"]


# the real files


@needs_data
def test_prism_has_its_282_users_and_their_targets():
    pairs = read_pairs(Path(DATA or "") / "prism_turn0_subset.jsonl.gz")
    splits = [split_user(user.pairs) for user in pairs.values() if len(user) >= 5]
    assert (len(pairs), pairs.tally.n_pairs) == (282, 2583)
    assert (sum(bool(split.target) for split in splits), sum(len(split.target) for split in splits)) == (237, 654)
    assert sum(not split.validation for split in splits) == 13


@needs_data
def test_mt_bench_reports_its_blank_and_duplicate_rows():
    pairs = read_pairs(Path(DATA or "") / "mt_bench_human.jsonl.gz", ReadOptions(skip_bad=True))
    targets = [len(split_user(user.pairs).target) for user in pairs.values() if len(user) >= 5]
    assert (pairs.tally.n_bad_rows, pairs.tally.n_duplicates) == (9, 2)
    assert (sum(n > 0 for n in targets), sum(targets)) == (64, 815)


@needs_data
@pytest.mark.slow
def test_coauthor_has_its_61_users_and_their_targets():
    pairs = read_pairs(Path(DATA or "") / "coauthor_choices.jsonl.gz")
    targets = [len(split_user(user.pairs).target) for user in pairs.values() if len(user) >= 5]
    assert (len(pairs), pairs.tally.n_rows) == (61, 41384)
    assert (sum(n > 0 for n in targets), sum(targets)) == (53, 12522)
