"""What every layout of the table keeps to: rows of ana's one choice, as JSON lines and as CSV, with her name anywhere."""

import csv
import json

import pytest

from personalrm.preferences.messages import Message
from personalrm.preferences.reading.files import ReadOptions, iter_users, read_pairs, validate
from personalrm.preferences.reading.layouts import LAYOUTS

ASKED = {"role": "user", "content": "Which tea?"}
GREEN, BLACK = ({"role": "assistant", "content": text} for text in ("Green.", "Black."))
UTTERANCE = {"user_id": "ana", "conversation_id": "c", "turn": 0, "user_prompt": "Which tea?"}
ROWS = {
    "arena": [
        {"judge": "ana", "winner": "model_b", "conversation_a": [ASKED, BLACK], "conversation_b": [ASKED, GREEN]}
    ],
    "prism_conversations": [
        {
            "user_id": "ana",
            "conversation_id": "c",
            "conversation_history": [
                {"turn": 0, "role": "user", "content": "Which tea?"},
                {"turn": 0, "role": "model", "content": "Green.", "score": 80, "if_chosen": True},
                {"turn": 0, "role": "model", "content": "Black.", "score": 30, "if_chosen": False},
            ],
        }
    ],
    "prism_utterances": [
        UTTERANCE | {"model_response": "Green.", "score": 80, "if_chosen": True},
        UTTERANCE | {"model_response": "Black.", "score": 30, "if_chosen": False},
    ],
    "thumbs": [
        {"user_id": "ana", "prompt": "Which tea?", "completion": "Black.", "regenerated": "Green.", "thumb": "down"}
    ],
    "ratings": [
        {
            "user_id": "ana",
            "conversation": [ASKED],
            "completions": [{"content": "Black.", "rating": 3}, {"content": "Green.", "rating": 5}],
        }
    ],
    "trl_implicit": [{"user_id": "ana", "chosen": [ASKED, GREEN], "rejected": [ASKED, BLACK]}],
    "pairs": [{"user_id": "ana", "conversation": [ASKED], "chosen": GREEN, "rejected": "Black.", "meta": {"day": 1}}],
}
"""Layout -> rows in which ana prefers green tea to black; a new layout has its rows here."""
USER_COLUMN = {"arena": "judge"}
"""Where a layout does not find its user in `user_id`."""


def write(folder, rows, kind):
    path = folder / f"rows.{kind}"
    with path.open("w", newline="", encoding="utf-8") as file:
        if kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:  # lists and objects as JSON in a cell, all else as text
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(
                {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in row.items()}
                for row in rows
            )
    return path


def rows_of(layout, user):
    """The layout's rows with the user's name as these columns say."""
    column = USER_COLUMN.get(layout, "user_id")
    return [{name: value for name, value in row.items() if name != column} | user for row in ROWS[layout]]


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture(params=["jsonl", "csv", "tsv"])
def kind(request):
    return request.param


def choices(path, **options):
    """The recognized layout, and whose choice says what."""
    users = read_pairs(path, ReadOptions(**options))
    pairs = [pair for user in users.values() for pair in user]
    return users.tally.layout, [(pair.user_id, pair.conversation, pair.chosen, pair.rejected) for pair in pairs]


def choice_of(user_id):
    return [(user_id, (Message("user", "Which tea?"),), "Green.", "Black.")]


def test_each_kind_of_file_holds_the_same_choice(layout, kind, tmp_path):
    assert choices(write(tmp_path, ROWS[layout], kind)) == (layout, choice_of("ana"))


def test_the_user_column_that_is_named_wins(layout, kind, tmp_path):
    rows = [row | {"rater": "ben"} for row in ROWS[layout]]
    assert choices(write(tmp_path, rows, kind), user_column="rater") == (layout, choice_of("ben"))


def test_rows_without_their_own_user_column_are_read_by_the_one_that_is_named(layout, kind, tmp_path):
    path = write(tmp_path, rows_of(layout, {"rater": "ben"}), kind)
    assert choices(path, user_column="rater") == (layout, choice_of("ben"))


def test_rows_without_a_user_are_the_default_users(layout, kind, tmp_path):
    assert choices(write(tmp_path, rows_of(layout, {}), kind), default_user="ben") == (layout, choice_of("ben"))


def test_a_user_in_the_row_comes_before_the_default_user(layout, kind, tmp_path):
    assert choices(write(tmp_path, ROWS[layout], kind), default_user="ben") == (layout, choice_of("ana"))


def test_a_row_without_any_user_is_a_bad_row(layout, kind, tmp_path):
    report = validate(write(tmp_path, rows_of(layout, {}), kind))
    assert (report.n_pairs, set(report.bad_by_rule)) == (0, {"missing"})


def test_what_is_known_of_a_pair_besides_is_the_same_in_each_kind_of_file(layout, tmp_path):
    metas = [
        [dict(pair.meta) for user in iter_users(write(tmp_path, ROWS[layout], kind)) for pair in user]
        for kind in ("jsonl", "csv", "tsv")
    ]
    assert metas[0] == metas[1] == metas[2]
