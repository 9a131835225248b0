import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.errors import BadInput, CorruptFile, NewerVersion
from personalrm.preferences.demonstrations import Demonstration
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


def test_equal_prompts_give_equal_bytes():
    shuffled = replace(PROMPT, settings={"b": 1, "a": 2}), replace(PROMPT, settings={"a": 2, "b": 1})
    assert prompt_to_json(shuffled[0]) == prompt_to_json(shuffled[1])


@given(TEXT, TEXT)
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


def test_a_misspelt_key_is_corrected_and_a_weight_must_be_finite():
    content = json.loads(prompt_to_json(PROMPT))
    with pytest.raises(CorruptFile, match="'persona'"):
        prompt_from_json(json.dumps(content | {"persnoa": {}}), where="f")
    content["weights"][0]["mean"] = float("nan")
    with pytest.raises(CorruptFile, match="finite"):
        prompt_from_json(json.dumps(content), where="f")


def test_a_sentence_edited_by_hand_is_read():
    text = prompt_to_json(PROMPT).replace('"text": "Likes tea."', '"text": "Likes coffee."')
    assert prompt_from_json(text, where="f").persona.text == "Likes coffee."
