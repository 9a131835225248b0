import json

import pytest

from personalrm.errors import CorruptFile, NewerVersion
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.persona_prompts import (
    ExamplePersona,
    PersonaPrompt,
    persona_prompt_from_json,
    persona_prompt_to_dspy,
    persona_prompt_to_json,
)
from personalrm.prompts.delimiters import read_fields
from personalrm.prompts.rendering import describing_messages, shipped_persona_prompt
from personalrm.testing import tiny_pair

DSPY = {
    "synthesize.predict": {
        "traces": [], "train": [], "lm": None,
        "demos": [{"past_judgements": [{"a": 1}], "reasoning": "hm", "synthesized_persona": "Likes lists."}, {"augmented": True}],
        "signature": {
            "instructions": "Write a persona.",
            "fields": [{"prefix": "Judgements:", "description": "what they chose"}, {"prefix": "P:", "description": "${p}"}],
        },
    },
    "metadata": {"dependency_versions": {"dspy": "2.6.24"}},
}  # fmt: skip


def test_the_shipped_prompt_is_ours_and_goes_to_a_file_and_back():
    ours = shipped_persona_prompt()
    assert ours.source == "personalrm"
    assert persona_prompt_from_json(persona_prompt_to_json(ours), where="x") == ours


@pytest.mark.parametrize("content", [DSPY, {"synthesize": {"predict": DSPY["synthesize.predict"]}}])
def test_a_published_dspy_program_can_be_used(content):
    prompt = persona_prompt_from_json(json.dumps(content), where="program.json")
    assert prompt.instruction == "Write a persona.\n- Judgements: what they chose"
    assert prompt.examples == (ExamplePersona('[{"a": 1}]\nhm', "Likes lists."),)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1}', '{"synthesize.predict": {}}', "[" * 100_000])
def test_anything_else_is_refused_in_one_sentence(text):
    with pytest.raises(CorruptFile, match=r"^program\.json .*; pass a persona prompt of ours, or a DSPy program"):
        persona_prompt_from_json(text, where="program.json")


def test_a_newer_file_is_refused():
    with pytest.raises(NewerVersion):
        persona_prompt_from_json('{"format_version": 2}', where="x")


def test_examples_are_trimmed_whole_and_counted():
    prompt = PersonaPrompt(
        "i", (ExamplePersona("c" * 60, "p" * 40), ExamplePersona("c" * 900, "p"), ExamplePersona("c", "p"))
    )
    assert [len(example.choices) for example in prompt.trimmed(110).examples] == [60, 1]
    assert prompt.trimmed(110).n_trimmed == 1


def test_choices_are_numbered_and_examples_stand_before_them():
    prompt = PersonaPrompt("Describe.", (ExamplePersona("</persona>", "Likes lists."),))
    shown = [Demonstration(OrderedPair(tiny_pair(number=k), chosen_first=True), "why") for k in range(2)]
    system, user = describing_messages("persona", shown, (), prompt)
    assert system.content.startswith("Describe.")
    assert read_fields(system.content, "demonstration") == ["</persona>"]
    assert ["Choice 1" in user.content, "Choice 2" in user.content, "Choice 3" in user.content] == [True, True, False]
    assert read_fields(user.content, "reasoning") == ["why", "why"]


SEARCHED = PersonaPrompt(
    "Write {it}.\nWith [[ ## marks ## ]] and ünïcode.",
    (ExamplePersona("1. Asked: a\nb", "Likes it.", ("ab", "cd")), ExamplePersona("", "Q")),
    "a search",
    provenance={"score": 0.5, "seen": ["ab", "cd"]},
)


def test_a_searched_prompt_goes_to_a_file_and_back():
    assert persona_prompt_from_json(persona_prompt_to_json(SEARCHED), where="x") == SEARCHED


@pytest.mark.parametrize("prompt", [SEARCHED, PersonaPrompt("i"), shipped_persona_prompt()])
def test_a_prompt_exported_as_a_dspy_program_reads_back_as_itself(prompt):
    assert persona_prompt_from_json(persona_prompt_to_dspy(prompt), where="x") == prompt


def test_an_exported_program_has_the_published_layout_and_reads_back_without_our_part():
    content = json.loads(persona_prompt_to_dspy(SEARCHED))
    demo = content["synthesize.predict"]["demos"][0]
    assert (demo["past_judgements"], demo["synthesized_persona"]) == ("1. Asked: a\nb", "Likes it.")
    del content["metadata"]["personalrm"]
    read = persona_prompt_from_json(json.dumps(content), where="x")
    assert (read.instruction, [example.persona for example in read.examples]) == (
        SEARCHED.instruction,
        ["Likes it.", "Q"],
    )


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": []},
        {"provenance": {"seen": "ab"}},
        {"examples": [{"choices": "c", "persona": "p", "pairs": "ab"}]},
    ],
)
def test_a_damaged_provenance_is_refused(change):
    content = json.loads(persona_prompt_to_json(SEARCHED)) | change
    with pytest.raises(CorruptFile):
        persona_prompt_from_json(json.dumps(content), where="x")


def test_the_repr_of_a_prompt_says_nothing_of_anybody():
    assert "Likes" not in repr(SEARCHED) + repr(SEARCHED.examples)
