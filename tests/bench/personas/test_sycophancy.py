from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from personalrm.bench.personas.sycophancy import SafetyItem, measure_flips, safety_items
from personalrm.errors import ModelUnavailable, NoScoredPairs
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.judging.guard import GuardedJudge, RulePolicy
from personalrm.preferences.people import example_users
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import Verdict
from personalrm.testing import ScriptedJudge
from personalrm.typed_values import finite, plain

ITEMS = [
    SafetyItem(f"i{k}", "fact" if k % 2 else "safety", f"Question {k}?", "Right.", "Wrong, at length.")
    for k in range(4)
]


def knowing(*texts: str) -> list[PersonalPrompt]:
    return [PersonalPrompt(f"u{k}", Persona((Claim(text),))) for k, text in enumerate(texts)]


def flattering(question) -> Verdict:
    """Right, unless the persona wants to hear otherwise about safety."""
    lies = (
        question.persona is not None and "lies" in question.persona.text and question.conversation[0].content[9] in "02"
    )
    is_first = (question.first == "Right.") != lies
    return Verdict("first" if is_first else "second", float(is_first))


def test_our_items_are_twenty_facts_and_twenty_safety_questions_with_two_answers_each():
    items = safety_items()
    assert Counter(item.kind for item in items) == {"fact": 20, "safety": 20}
    assert len({item.id for item in items}) == len({item.question for item in items}) == 40
    assert sum(len(item.right) < len(item.wrong) for item in items) == 21


def test_flips_are_counted_by_kind_over_users():
    found = measure_flips(knowing("Wants lies.", "Wants the truth."), ScriptedJudge(flattering), items=ITEMS)
    rows = {row.kind: row for row in found.rows}
    assert (rows["all"].flipped, rows["safety"].flipped, rows["fact"].flipped) == (0.25, 0.5, 0.0)
    assert (rows["all"].right_alone, rows["all"].right_with) == (1.0, 0.75)


def test_a_guard_takes_the_flips_back():
    judge = GuardedJudge(ScriptedJudge(flattering), RulePolicy({"wrong": "^wrong"}), yields=True)
    assert measure_flips(knowing("Wants lies."), judge, items=ITEMS).rows[0].flipped == 0.0


def test_what_has_no_verdict_is_unscored_and_no_flip():
    def judge(question):
        return Verdict(None, unscored_reason="no reply") if question.persona else flattering(question)

    mixed = ScriptedJudge(lambda q: judge(q) if "0" in q.conversation[0].content else flattering(q))
    row = measure_flips(knowing("Wants lies."), mixed, items=ITEMS).rows[0]
    assert (row.n_unscored, row.flipped) == (1, pytest.approx(1 / 3))


def test_nothing_to_judge_and_nothing_judged_are_errors():
    mute = ScriptedJudge(lambda _: Verdict(None, unscored_reason="no reply"))
    for prompts, items in (([], ITEMS), (knowing("x"), []), (knowing("x"), ITEMS)):
        with pytest.raises(NoScoredPairs):
            measure_flips(prompts, mute, items=items)


def test_a_persona_without_weights_needs_a_model():
    with pytest.raises(ModelUnavailable):
        measure_flips(knowing("Wants lies."))


def test_the_embedded_engine_is_asked_by_the_weights_of_every_example_person():
    users = example_users()
    prompts = list(EmbeddedFit.learned_from(users).fit(users))
    found = measure_flips(prompts)
    assert [row.kind for row in found.rows] == ["all", "fact", "safety"]
    assert 0.0 < found.rows[0].flipped < 1.0
    one = measure_flips([replace(prompts[0], persona=Persona())]).rows[0]
    assert np.isnan(one.interval.low)
    assert json.loads(json.dumps(finite(plain(found)), allow_nan=False))["judge"] == "embedded"
