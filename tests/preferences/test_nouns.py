import pytest

from personalrm.errors import BadInput, BadRow, TargetLeak
from personalrm.preferences.messages import Message, check_conversation, conversation_digest
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import Verdict, verdict_from_probability
from personalrm.testing import LONG, SHORT, tiny_pair


def test_swapping_an_ordered_pair_swaps_its_label():
    shown = OrderedPair(tiny_pair(), chosen_first=True)
    assert (shown.answer, shown.first) == ("first", shown.pair.chosen)
    assert (shown.swapped().answer, shown.swapped().second) == ("second", shown.pair.chosen)
    assert shown.swapped().swapped() == shown


def test_the_hash_of_a_pair_depends_on_user_conversation_and_both_texts():
    hashes = {tiny_pair().hash, tiny_pair("u2").hash, tiny_pair(number=1).hash, tiny_pair().reversed().hash}
    assert len(hashes) == 4
    assert tiny_pair(conversation_id="x").hash == tiny_pair().hash


@pytest.mark.parametrize(("chosen", "rejected"), [("", "b"), ("a", " "), ("a", "a")])
def test_a_pair_without_a_preference_cannot_be_made(chosen, rejected):
    with pytest.raises(BadRow):
        PreferencePair("u", (Message("user", "q"),), chosen, rejected)


@pytest.mark.parametrize(
    ("roles", "rule"),
    [((), "no turns"), (("system",), "no user turn"), (("user", "assistant"), "ends with the assistant")],
)
def test_a_conversation_nothing_can_follow_is_refused(roles, rule):
    with pytest.raises(BadRow) as caught:
        check_conversation([Message(role, "text") for role in roles])
    assert caught.value.rule == rule


def test_a_conversation_may_end_with_a_tool_or_a_system_turn():
    for role in ("tool", "system"):
        assert len(check_conversation([Message("user", "q"), Message(role, "text")])) == 2


def test_equal_conversations_have_equal_digests_and_a_turn_border_counts():
    one, two = (Message("user", "ab"),), (Message("user", "a"), Message("user", "b"))
    assert conversation_digest(one) == conversation_digest(list(one))
    assert conversation_digest(one) != conversation_digest(two)


def test_a_pair_is_called_by_its_own_id_else_by_its_hash():
    assert tiny_pair(pair_id="mine").id == "mine"
    assert tiny_pair(pair_id="").id == tiny_pair().hash


def test_pairs_with_one_conversation_and_one_chosen_text_are_one_choice():
    pair = tiny_pair()
    other = PreferencePair(pair.user_id, pair.conversation, pair.chosen, "something else")
    assert other.choice_key == pair.choice_key
    assert pair.reversed().choice_key != pair.choice_key


def test_a_persona_is_its_claims_and_their_evidence():
    persona = Persona((Claim("Likes tea.", ("p1",)), Claim("Likes lists.", ("p2", "p3"), ("p4",))))
    assert str(persona) == persona.text == "Likes tea. Likes lists."
    assert persona.evidence == {"Likes tea.": ("p1",), "Likes lists.": ("p2", "p3")}


def test_an_empty_persona_says_why_and_shows_no_text_in_its_representation():
    assert str(Persona(note="too few pairs")) == "too few pairs"
    assert "tea" not in repr(Persona((Claim("Likes tea."),)))


def test_representations_show_no_private_text():
    pair = tiny_pair()
    for noun in (pair, pair.conversation[0], OrderedPair(pair, True).pair):
        assert SHORT[:10] not in repr(noun)
        assert LONG[:10] not in repr(noun)


def test_exactly_one_half_is_a_tie_and_it_is_scored():
    verdict = verdict_from_probability(0.5)
    assert (verdict.choice, verdict.is_scored) == (None, True)


def test_an_unscored_verdict_says_why():
    assert not Verdict(None, unscored_reason="no answer").is_scored
    with pytest.raises(BadInput):
        Verdict("first", 1.5)


def test_a_prompt_refuses_targets_it_was_made_from():
    pair = tiny_pair()
    prompt = PersonalPrompt("u1", Persona(), roles={pair.hash: "train"})
    with pytest.raises(TargetLeak, match="u1-p0"):
        prompt.refuse_targets([pair])
