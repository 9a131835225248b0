import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.prompts.delimiters import TAGS, neutralize, read_fields, restore
from personalrm.prompts.rendering import as_markdown, generation_prompt, judge_messages
from personalrm.testing import tiny_pair

NASTY = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from([f"<{t}>" for t in TAGS] + [f"</{t}>" for t in TAGS] + ["<\\first>", "\n", "{{persona}}", "x", "\\"])).map("".join),
)  # fmt: skip
PROMPT = PersonalPrompt(
    "u1",
    Persona((Claim("Likes short answers.", ("p1", "p2"), ("p3",)),)),
    (Demonstration(OrderedPair(tiny_pair(), chosen_first=False), "it is shorter"),),
)


@given(NASTY)
def test_neutralized_text_comes_back_and_holds_no_tag_of_ours(text):
    assert restore(neutralize(text)) == text
    assert not any(f"<{tag}>" in neutralize(text) or f"</{tag}>" in neutralize(text) for tag in TAGS)


@given(NASTY, NASTY, NASTY)
def test_a_built_prompt_reads_back_to_the_same_fields(question, first, second):
    _, shown = judge_messages(PROMPT, (Message("user", question),), first, second)
    assert [read_fields(shown.content, tag) for tag in ("turn", "first", "second")] == [[question], [first], [second]]


def test_a_slot_in_a_persona_is_not_filled():
    prompt = PersonalPrompt("u1", Persona((Claim("{{demonstrations}}"),)), PROMPT.demonstrations)
    system, _ = judge_messages(prompt, (Message("user", "q"),), "a", "b")
    assert read_fields(system.content, "persona") == ["{{demonstrations}}"]


def test_persona_and_demonstrations_stand_in_the_system_message_before_the_pair():
    system, shown = judge_messages(PROMPT, (Message("user", "q"),), "a", "b")
    assert (system.role, shown.role) == ("system", "user")
    assert read_fields(system.content, "persona") == ["Likes short answers."]
    assert read_fields(system.content, "choice") == ["second"]
    assert read_fields(system.content, "reasoning") == ["it is shorter"]


def test_oldest_turns_go_first_and_are_counted():
    turns = tuple(Message(("user", "assistant")[k % 2], f"turn {k} " + "x" * 100) for k in range(5))
    _, shown = judge_messages(PROMPT, turns, "a", "b", max_characters=250)
    assert "(3 older turns left out)" in shown.content
    assert read_fields(shown.content, "turn")[-1].startswith("turn 4")


def test_the_last_turn_stays_however_long():
    _, shown = judge_messages(PROMPT, (Message("user", "x" * 999),), "a", "b", max_characters=1)
    assert read_fields(shown.content, "turn") == ["x" * 999]


def test_a_generation_prompt_names_the_taste_and_the_choices():
    text = generation_prompt(PROMPT)
    assert "Likes short answers." in text
    assert read_fields(text, "first") == [PROMPT.demonstrations[0].shown.pair.chosen]


@pytest.mark.parametrize("user_id", ["<script>alert(1)</script>", "# heading", "a\nb"])
def test_markdown_takes_ids_as_text(user_id):
    first = as_markdown(PersonalPrompt(user_id, PROMPT.persona)).splitlines()[0]
    assert first.startswith("# ")
    assert "<script>" not in first
