from dataclasses import replace

import pytest

from personalrm.errors import BadInput
from personalrm.induction.prompt_changes import SentenceChange, compare_prompts
from personalrm.preferences.drift import Drift
from personalrm.preferences.personal_prompts import FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Claim, Persona

FAR = "Prefers far shorter answers than most people: 9 of 9 pairs."
CLEARLY = "Prefers clearly shorter answers than most people: 5 of 6 pairs."
LISTS = "Prefers clearly more lists than most people: 4 of 4 pairs."


def prompt(*claims, n_pairs=3, weights=(), drift=None):
    roles = {f"hash{k}": "train" for k in range(n_pairs)}
    made = tuple(claim if isinstance(claim, Claim) else Claim(claim) for claim in claims)
    rows = tuple(FeatureWeight(name, 1.0, 0.0, 0.3, mean, 0.1) for name, mean in weights)
    return PersonalPrompt("u1", Persona(made), roles=roles, weights=rows, drift=drift)


def kinds(before, after):
    return [(change.kind, change.before, change.after) for change in compare_prompts(before, after).sentences]


def test_a_sentence_is_added_removed_or_kept():
    assert kinds(prompt(FAR, LISTS), prompt(FAR, "Loves emojis.")) == [
        ("kept", FAR, FAR),
        ("added", "", "Loves emojis."),
        ("removed", LISTS, ""),
    ]


def test_a_changed_adverb_is_one_changed_sentence():
    change = compare_prompts(prompt(CLEARLY), prompt(FAR)).sentences[0]
    assert (change.kind, change.adverb) == ("changed", ("clearly", "far"))


def test_a_taste_that_turned_around_is_one_changed_sentence():
    longer = "Prefers clearly longer answers than most people: 5 of 6 pairs."
    assert kinds(prompt(longer), prompt(CLEARLY)) == [("changed", longer, CLEARLY)]


def test_the_pairs_that_moved_are_named():
    before = Claim(CLEARLY, ("a", "b"), ("c", "d"))
    after = Claim(CLEARLY, ("a", "c", "e"), ("b",))
    change = compare_prompts(prompt(before), prompt(after)).sentences[0]
    assert (change.kind, change.now_for, change.now_against, change.no_longer) == ("kept", ("c", "e"), ("b",), ("d",))


def test_a_reworded_sentence_of_a_model_is_one_change_and_a_new_one_is_not():
    old = "The user values practical, hands-on advice for the garden."
    new = "The user values practical, hands-on advice about the garden."
    assert kinds(prompt(old), prompt(new)) == [("changed", old, new)]
    other = "Family comes before career."
    assert kinds(prompt(old), prompt(other)) == [("added", "", other), ("removed", old, "")]


def test_an_equal_sentence_is_never_lost_to_one_about_the_same():
    assert kinds(prompt(CLEARLY, FAR), prompt(FAR)) == [("kept", FAR, FAR), ("removed", CLEARLY, "")]


def test_equal_sentences_are_matched_one_by_one():
    assert kinds(prompt(FAR, FAR), prompt(FAR)) == [("kept", FAR, FAR), ("removed", FAR, "")]


def test_the_weights_that_moved_most_come_first_and_still_ones_are_left_out():
    before = prompt(weights=[("length", 0.1), ("lists", 0.2), ("emoji", 0.3)])
    after = prompt(weights=[("length", 0.2), ("lists", -0.4), ("emoji", 0.301)])
    assert [change.feature for change in compare_prompts(before, after).weights] == ["lists", "length"]


def test_a_weight_that_only_one_version_has_is_no_change():
    assert compare_prompts(prompt(), prompt(weights=[("length", 0.9)])).weights == ()


def test_pairs_are_counted_both_ways():
    before, after = prompt(n_pairs=3), prompt(n_pairs=5)
    changes = compare_prompts(before, after), compare_prompts(after, before)
    assert [(change.pairs_added, change.pairs_removed) for change in changes] == [(2, 0), (0, 2)]


def test_equal_prompts_have_no_changes():
    same = prompt(Claim(FAR, ("a",)), weights=[("length", 0.1)])
    assert compare_prompts(same, same).is_empty


@pytest.mark.parametrize(
    "changed",
    [
        prompt(FAR, n_pairs=4),
        prompt(CLEARLY),
        prompt(Claim(FAR, ("a",))),
        prompt(FAR, drift=Drift("p", 4, 9, 2.5, 0.01, ("length",))),
    ],
)
def test_every_change_a_person_would_notice_counts(changed):
    assert not compare_prompts(prompt(FAR), changed).is_empty


def test_prompts_of_two_users_are_refused():
    with pytest.raises(BadInput, match="two users"):
        compare_prompts(prompt(), replace(prompt(), user_id="u2"))


def test_an_empty_persona_has_no_sentences():
    assert compare_prompts(prompt(), prompt()).sentences == ()
    assert compare_prompts(prompt(), prompt(FAR)).sentences == (SentenceChange("added", "", FAR),)
