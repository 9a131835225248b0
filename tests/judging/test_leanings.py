"""What verdicts lean on where nothing is clear enough for a sentence."""

from __future__ import annotations

from dataclasses import replace

from personalrm.preferences.personal_prompts import FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.stylometry.sentences import strongest_leanings


def prompt(**shifts: float) -> PersonalPrompt:
    weights = tuple(FeatureWeight(name, 1.0, 0.2, 0.5, 0.2 + shift, 0.4) for name, shift in shifts.items())
    return PersonalPrompt("u", Persona(), weights=weights)


def test_the_strongest_come_first_and_say_which_way():
    assert strongest_leanings(prompt(length=-0.3, lists=0.5)) == ["more lists", "shorter answers"]


def test_what_hardly_differs_from_most_people_is_not_listed():
    assert strongest_leanings(prompt(length=0.01)) == []


def test_no_more_than_asked_for():
    assert len(strongest_leanings(prompt(length=1.0, lists=1.0, hedging=1.0), most=2)) == 2


def test_a_prompt_of_a_model_has_none():
    assert strongest_leanings(replace(prompt(length=1.0), weights=())) == []
