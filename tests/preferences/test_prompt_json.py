import functools
import json
import operator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.errors import BadInput, CorruptFile, NewerVersion
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.drift import Drift
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personal_prompts import FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.testing import tiny_pair

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PROMPT = PersonalPrompt(
    user_id="u1",
    persona=Persona((Claim("Likes tea.", ("p1",), ("p2",)),)),
    demonstrations=(Demonstration(OrderedPair(tiny_pair(), True), "because"), Demonstration(OrderedPair(tiny_pair(number=1), False))),
    settings={"seed": 0},
    roles={"abc": "train"},
    weights=(FeatureWeight("length", 1.25, 0.1, 0.2, 0.3, 0.4),),
    written=("Likes tea.",),
    notes=("a note",),
)  # fmt: skip


def test_a_prompt_reads_back_as_it_was_written():
    assert prompt_from_json(prompt_to_json(PROMPT), where="f") == PROMPT


DRIFT = Drift("p3", 3, 9, 2.5, 0.01, ("length",), ("p1", "p2"), ("p3",))


def test_a_change_of_taste_reads_back_and_marks_the_format():
    text = prompt_to_json(replace(PROMPT, drift=DRIFT))
    assert prompt_from_json(text, where="f").drift == DRIFT
    assert [json.loads(written)["format_version"] for written in (text, prompt_to_json(PROMPT))] == [2, 1]


def test_a_prompt_without_a_change_is_written_as_before_changes_were_known():
    assert "drift" not in json.loads(prompt_to_json(PROMPT))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pair_number", 0),
        ("pair_number", 10),
        ("pair_number", 2.5),
        ("pair_number", True),
        ("n_pairs", "9"),
        ("chance", 1.5),
        ("chance", -0.1),
        ("chance", float("nan")),
        ("log_evidence", None),
        ("features", "length"),
        ("features", [1]),
        ("before", None),
        ("pair_id", 3),
        ("surprise", 1),
    ],
)
def test_a_damaged_change_of_taste_is_refused(field, value):
    content = json.loads(prompt_to_json(replace(PROMPT, drift=DRIFT)))
    content["drift"][field] = value
    with pytest.raises(CorruptFile):
        prompt_from_json(json.dumps(content), where="f")


def test_equal_prompts_give_equal_bytes():
    shuffled = replace(PROMPT, settings={"b": 1, "a": 2}), replace(PROMPT, settings={"a": 2, "b": 1})
    assert prompt_to_json(shuffled[0]) == prompt_to_json(shuffled[1])


@given(TEXT, TEXT)
@pytest.mark.slow
def test_any_text_survives_the_round_trip(persona, reasoning):
    prompt = replace(
        PROMPT,
        persona=Persona((Claim(persona),)),
        demonstrations=(Demonstration(OrderedPair(tiny_pair(), True), reasoning),),
    )
    assert prompt_from_json(prompt_to_json(prompt), where="f") == prompt


def test_a_lone_surrogate_is_refused_when_writing():
    with pytest.raises(BadInput, match="lone surrogate"):
        prompt_to_json(replace(PROMPT, notes=("\ud800",)))


@pytest.mark.parametrize("cut", [0, 1, 50, 400, -5])
def test_a_truncated_file_is_refused(cut):
    with pytest.raises(CorruptFile):
        prompt_from_json(prompt_to_json(PROMPT)[:cut], where="f")


@pytest.mark.parametrize("key", ["persona", "roles", "weights", "user_id"])
def test_a_missing_field_is_named(key):
    content = json.loads(prompt_to_json(PROMPT))
    del content[key]
    with pytest.raises(CorruptFile, match=key):
        prompt_from_json(json.dumps(content), where="f")


def test_a_newer_version_and_another_user_are_refused():
    content = json.loads(prompt_to_json(PROMPT))
    with pytest.raises(NewerVersion, match="99"):
        prompt_from_json(json.dumps(content | {"format_version": 99}), where="f")
    with pytest.raises(BadInput, match="'u1', not of 'u2'"):
        prompt_from_json(json.dumps(content), where="f", expected_user="u2")


def test_a_misspelled_key_is_corrected_and_a_weight_must_be_finite():
    content = json.loads(prompt_to_json(PROMPT))
    with pytest.raises(CorruptFile, match="'persona'"):
        prompt_from_json(json.dumps(content | {"persnoa": {}}), where="f")
    content["weights"][0]["mean"] = float("nan")
    with pytest.raises(CorruptFile, match="mean of weight 'length' of f is nan"):
        prompt_from_json(json.dumps(content), where="f")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("persona", "claims", 0, "supporting"),
            [1, 2],
            "item 1 of supporting of item 1 of claims of persona of f is a whole number, not a text",
        ),
        (
            ("persona", "claims", 0, "supporting"),
            "abc",
            "supporting of item 1 of claims of persona of f is a text, not a list",
        ),
        (("persona", "claims"), {}, "claims of persona of f is keys and values, not a list"),
        (("persona",), [], "persona of f is a list, not keys and values"),
        (("written",), "abc", "written of f is a text, not a list"),
        (
            ("demonstrations", 0, "reasoning"),
            7,
            "reasoning of item 1 of demonstrations of f is a whole number, not a text",
        ),
        (
            ("demonstrations", 0, "chosen_first"),
            "no",
            "chosen_first of item 1 of demonstrations of f is a text, not true or false",
        ),
        (("demonstrations", 0, "pair", "user_id"), "u2", "a demonstration of f is of user 'u2'"),
        (
            ("demonstrations", 0, "pair", "chosen"),
            7,
            "chosen of pair of item 1 of demonstrations of f is a whole number, not a text",
        ),
        (
            ("demonstrations", 0, "pair", "order_index"),
            10**400,
            "order_index of pair of .* is a whole number of 1329 bits",
        ),
        (
            ("demonstrations", 0, "pair", "conversation", 0, "content"),
            None,
            "content of item 1 of conversation of pair of .* is empty, not a text",
        ),
        (
            ("demonstrations", 0, "pair", "conversation", 0, "role"),
            "robot",
            "role of item 1 of conversation of .* is 'robot' .use one of user, assistant, system, tool",
        ),
        (("weights", 0, "mean"), 10**400, "mean of item 1 of weights of f is a whole number of 1329 bits"),
        (("weights", 0, "mean"), 1e308, "mean of weight 'length' of f is 1e\\+308, out of range"),
        (("weights", 0, "scale"), 0, "scale of weight 'length' of f is 0, out of range"),
        (("weights", 0, "spread"), -0.5, "spread of weight 'length' of f is -0.5, out of range"),
        (("weights", 0, "feature"), 7, "feature of item 1 of weights of f is a whole number, not a text"),
        (("too_few_pairs",), "no", "too_few_pairs of f is a text, not true or false"),
        (("settings",), [], "settings of f is a list, not keys and values"),
        (("roles",), ["abc"], "roles of f is a list, not keys and values"),
        (("format_version",), -3, "no valid format_version"),
        (("format_version",), True, "no valid format_version"),
    ],
)
def test_a_field_of_a_wrong_type_or_size_is_refused_by_name(place, value, message):
    content = json.loads(prompt_to_json(PROMPT))
    holder = functools.reduce(operator.getitem, place[:-1], content)
    holder[place[-1]] = value
    with pytest.raises(CorruptFile, match=message):
        prompt_from_json(json.dumps(content), where="f")


def test_a_split_that_is_not_one_of_ours_is_read_as_it_stands():
    content = json.loads(prompt_to_json(PROMPT))
    content["demonstrations"][0]["pair"]["split"] = "context"
    assert json.loads(prompt_to_json(prompt_from_json(json.dumps(content), where="f"))) == content


def test_a_sentence_edited_by_hand_is_read():
    text = prompt_to_json(PROMPT).replace('"text": "Likes tea."', '"text": "Likes coffee."')
    assert prompt_from_json(text, where="f").persona.text == "Likes coffee."
