import pytest

from personalrm.errors import BadInput, BadRow, TargetLeak
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
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
