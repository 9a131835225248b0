import json

import pytest

from personalrm.errors import BadInput
from personalrm.preferences.reading.files import ReadOptions, Tally, iter_users, read_pairs

USER, BOT = {"role": "user", "content": "Which tea?"}, {"role": "assistant", "content": "Green."}


def read(tmp_path, *rows, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    pairs = read_pairs(path, ReadOptions(**options))
    return pairs, [pair for user in pairs.values() for pair in user]


def problems(tmp_path, *rows, **options):
    path, tally = tmp_path / "rows.jsonl", Tally()
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    list(iter_users(path, ReadOptions(**options, skip_bad=True), tally=tally))
    return [(problem.line, problem.rule) for problem in tally.problems]


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


def test_whole_conversations_beside_a_prompt_are_pointed_to_their_layout(tmp_path):
    row = {
        "prompt": "Which tea?",
        "chosen": [USER, BOT],
        "rejected": [USER, BOT | {"content": "Black."}],
        "user_id": "u",
    }
    with pytest.raises(BadInput, match="--layout trl_implicit"):
        read(tmp_path, row)
    _, (pair,) = read(tmp_path, row, layout="trl_implicit")
    assert texts(pair) == (["Which tea?"], "Green.", "Black.")


@pytest.mark.parametrize(
    ("chosen", "rejected", "rule"),
    [
        ([USER, BOT], [USER, BOT], "identical completions"),
        ([USER, USER], [USER, BOT], "no completion"),
        ([USER, BOT], [BOT, USER, {"role": "assistant", "content": "Black."}], "no common prompt"),
    ],
)
def test_an_implicit_prompt_that_cannot_be_told_is_a_bad_row(tmp_path, chosen, rejected, rule):
    assert problems(tmp_path, {"user_id": "u", "chosen": chosen, "rejected": rejected}) == [(1, rule)]


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


def test_arena_shares_earlier_turns_that_are_equal_in_both(tmp_path):
    more = {"role": "user", "content": "And milk?"}
    no, yes = {"role": "assistant", "content": "No."}, {"role": "assistant", "content": "Yes."}
    row = {"judge": "u", "winner": "model_b", "conversation_a": [USER, BOT, more, no], "conversation_b": [USER, BOT, more, yes]}  # fmt: skip
    _, (pair,) = read(tmp_path, row)
    assert texts(pair) == (["Which tea?", "Green.", "And milk?"], "Yes.", "No.")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"conversation_b": [USER, BOT]}, "identical completions"),
        ({"conversation_b": [{"role": "user", "content": "Which coffee?"}, BOT]}, "user turns differ"),
        ({"conversation_b": [USER, BOT, USER, BOT]}, "user turns differ"),
        ({"conversation_b": [USER]}, "no completion"),
        ({"winner": "nobody"}, "unknown winner"),
        ({"judge": None}, "missing"),
    ],
)
def test_an_arena_battle_that_cannot_be_used_is_a_bad_row(tmp_path, change, rule):
    row = {"judge": "u", "winner": "model_a", "conversation_a": [USER, BOT]}
    row["conversation_b"] = [USER, {"role": "assistant", "content": "Black."}]
    assert problems(tmp_path, row, row | change) == [(2, rule)]


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


def utterance(**fields):
    row = {"user_id": "u", "conversation_id": "c", "turn": 0, "user_prompt": "Which tea?", "if_chosen": False}
    return row | {"model_response": "Green.", "score": 80} | fields


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"turn": "x"}, "not a number"),
        ({"score": None}, "not a number"),
        ({"score": float("nan")}, "not finite"),
        ({"model_response": " "}, "blank"),
        ({"user_prompt": None}, "no user turn"),
        ({"conversation_id": None}, "missing"),
        ({"split": "holdout"}, "unknown split"),
    ],
)
def test_a_bad_prism_utterance_is_listed_with_its_line(tmp_path, change, rule):
    rows = [utterance(conversation_id="before"), utterance(**change), utterance(model_response="Black.", score=1)]
    assert (2, rule) in problems(tmp_path, *rows)


def test_prism_utterances_of_different_users_are_never_compared(tmp_path):
    pairs, found = read(tmp_path, utterance(), utterance(user_id="v", model_response="Black.", score=1))
    assert (found, len(pairs)) == ([], 0)


def test_the_other_responses_of_a_broken_prism_conversation_are_counted(tmp_path):
    pairs, _ = read(tmp_path, utterance(), utterance(score=None), utterance(score=1), skip_bad=True)
    assert pairs.tally.dropped == {"response in a conversation with a bad row": 2}


@pytest.mark.parametrize("entry", [5, {"turn": 0, "role": "judge", "content": "a", "score": 5}])
def test_an_entry_of_no_known_role_spoils_a_prism_conversation(tmp_path, entry):
    row = {"user_id": "u", "conversation_id": "c", "conversation_history": [*HISTORY, entry]}
    assert problems(tmp_path, row) == [(1, "unknown role")]


def test_prism_turns_that_cannot_be_continued_are_counted(tmp_path):
    history = [entry | {"if_chosen": False} for entry in HISTORY]
    pairs, found = read(tmp_path, {"user_id": "u", "conversation_id": "c", "conversation_history": history})
    assert ([texts(pair) for pair in found], pairs.tally.dropped["turn after one without a chosen response"]) == (EXPECTED[:2], 1)  # fmt: skip


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


def test_columns_a_layout_reads_are_not_kept_as_meta_and_others_are(tmp_path):
    rated = {"completions": [{"content": "Green.", "rating": 5}, {"content": "Black.", "rating": 3}]}
    _, (pair,) = read(
        tmp_path, {"user_id": "u", "prompt": "Which tea?", "context": "kitchen", "meta": {"a": 1}} | rated
    )
    assert dict(pair.meta) == {"a": 1, "context": "kitchen"}


def test_a_completion_may_be_one_text_part(tmp_path):
    row = {"user_id": "u", "prompt": "q", "chosen": [{"type": "text", "text": "a"}], "rejected": "b"}
    assert read(tmp_path, row)[1][0].chosen == "a"


@pytest.mark.parametrize("name", ["", " ", "a\x00"])
def test_a_default_user_without_a_name_is_refused(name):
    with pytest.raises(BadInput, match="default_user"):
        ReadOptions(default_user=name)
