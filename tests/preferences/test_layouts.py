import json

import pytest

from personalrm.errors import BadInput
from personalrm.preferences.reading import ReadOptions, read_pairs

USER, BOT = {"role": "user", "content": "Which tea?"}, {"role": "assistant", "content": "Green."}


def read(tmp_path, *rows, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    pairs = read_pairs(path, ReadOptions(**options))
    return pairs, [pair for user in pairs.values() for pair in user]


def texts(pair):
    return [turn.content for turn in pair.conversation], pair.chosen, pair.rejected


@pytest.mark.parametrize("name", ["conversation", "prompt", "context"])
def test_own_layout_takes_the_conversation_under_three_names(tmp_path, name):
    _, (pair,) = read(tmp_path, {"user_id": "u", name: [USER], "chosen": BOT, "rejected": "Black."})
    assert texts(pair) == (["Which tea?"], "Green.", "Black.")


def test_trl_explicit_prompt(tmp_path):
    row = {"prompt": [USER], "chosen": [BOT], "rejected": [{"role": "assistant", "content": "Black."}], "user_id": "u"}
    _, (pair,) = read(tmp_path, row)
    assert texts(pair) == (["Which tea?"], "Green.", "Black.")


def test_trl_implicit_prompt_is_the_common_beginning(tmp_path):
    row = {"chosen": [USER, BOT], "rejected": [USER, {"role": "assistant", "content": "Black."}], "user_id": "u"}
    pairs, (pair,) = read(tmp_path, row)
    assert pairs.tally.layout == "trl_implicit"
    assert texts(pair) == (["Which tea?"], "Green.", "Black.")


def test_arena_winner_is_chosen_and_ties_are_counted(tmp_path):
    row = {
        "question_id": "q1", "judge": "arena_user_1", "winner": "model_b", "tstamp": 1.7e9, "language": "English",
        "conversation_a": [USER, BOT], "conversation_b": [USER, {"role": "assistant", "content": "Black."}],
    }  # fmt: skip
    pairs, (pair,) = read(tmp_path, row, row | {"winner": "tie (bothbad)"})
    assert (pair.user_id, pair.chosen, pair.rejected, pair.timestamp) == ("arena_user_1", "Black.", "Green.", 1.7e9)
    assert pairs.tally.dropped == {"tie": 1}


def test_arena_completions_carry_their_own_earlier_turns_where_they_differ(tmp_path):
    more = {"role": "user", "content": "And milk?"}
    row = {
        "judge": "u", "winner": "model_a", "conversation_a": [USER, BOT, more, {"role": "assistant", "content": "No."}],
        "conversation_b": [USER, {"role": "assistant", "content": "Black."}, more, {"role": "assistant", "content": "Yes."}],
    }  # fmt: skip
    _, (pair,) = read(tmp_path, row)
    assert texts(pair) == (["Which tea?"], "Green.\n\n[user]: And milk?\n\nNo.", "Black.\n\n[user]: And milk?\n\nYes.")


HISTORY = [
    {"turn": 0, "role": "user", "content": "Which tea?"},
    {"turn": 0, "role": "model", "content": "Green.", "score": 80, "if_chosen": True},
    {"turn": 0, "role": "model", "content": "Black.", "score": 75, "if_chosen": False},
    {"turn": 0, "role": "model", "content": "None.", "score": 10, "if_chosen": False},
    {"turn": 1, "role": "user", "content": "And milk?"},
    {"turn": 1, "role": "model", "content": "No.", "score": 90, "if_chosen": True},
    {"turn": 1, "role": "model", "content": "Yes.", "score": 40, "if_chosen": False},
]
EXPECTED = [
    (["Which tea?"], "Green.", "None."),
    (["Which tea?"], "Black.", "None."),
    (["Which tea?", "Green.", "And milk?"], "No.", "Yes."),
]


def test_prism_conversations_make_pairs_of_scores_ten_points_apart(tmp_path):
    row = {
        "user_id": "u",
        "conversation_id": "c",
        "conversation_history": HISTORY,
        "generated_datetime": "2023-11-22 10:00:00",
    }
    pairs, found = read(tmp_path, row)
    assert [texts(pair) for pair in found] == EXPECTED
    assert pairs.tally.dropped == {"gap of ratings too small": 1}


def test_prism_utterances_make_the_same_pairs(tmp_path):
    prompts = {0: "Which tea?", 1: "And milk?"}
    rows = [
        {"user_id": "u", "conversation_id": "c", "turn": e["turn"], "user_prompt": prompts[e["turn"]],
         "model_response": e["content"], "score": e["score"], "if_chosen": e["if_chosen"]}
        for e in HISTORY if e["role"] == "model"
    ]  # fmt: skip
    _, found = read(tmp_path, *rows)
    assert [texts(pair) for pair in found] == EXPECTED


def test_reward_bench_needs_a_user_and_keeps_its_columns(tmp_path):
    row = {"prompt": "Which tea?", "chosen": "Green.", "rejected": "Black.", "subset": "chat", "chosen_model": "m"}
    _, (pair,) = read(tmp_path, row, default_user="everybody")
    assert (pair.user_id, pair.meta["subset"]) == ("everybody", "chat")
    with pytest.raises(BadInput, match="user_id is missing"):
        read(tmp_path, row)


def test_ratings_make_pairs_with_a_minimum_gap(tmp_path):
    row = {"user_id": "u", "prompt": "Which tea?", "completions": [
        {"content": "Green.", "rating": 5}, {"content": "Black.", "rating": 3}, {"content": "None.", "rating": 2}]}  # fmt: skip
    _, found = read(tmp_path, row, min_gap=2)
    assert [(pair.chosen, pair.rejected) for pair in found] == [("Green.", "Black."), ("Green.", "None.")]


def test_thumbs_make_pairs_of_up_against_down(tmp_path):
    row = {"user_id": "u", "prompt": "Which tea?", "completions": [
        {"content": "Green.", "thumb": "down"}, {"content": "Black.", "thumb": "up"}]}  # fmt: skip
    _, (pair,) = read(tmp_path, row)
    assert (pair.chosen, pair.rejected) == ("Black.", "Green.")


def test_a_regenerated_answer_is_chosen_after_a_thumb_down(tmp_path):
    row = {"user_id": "u", "prompt": "Which tea?", "completion": "Green.", "regenerated": "Black.", "thumb": "down"}
    _, (pair,) = read(tmp_path, row)
    assert (pair.chosen, pair.rejected) == ("Black.", "Green.")


def test_a_row_may_name_its_user_in_another_column(tmp_path):
    _, (pair,) = read(tmp_path, {"rater": "u", "prompt": "q", "chosen": "a", "rejected": "b"}, user_column="rater")
    assert pair.user_id == "u"
