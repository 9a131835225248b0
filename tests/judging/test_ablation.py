from __future__ import annotations

import math
from dataclasses import replace

import pytest

from personalrm.errors import BadInput, ModelUnavailable
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.judging.ablation import ablate_claims, n_ablation_calls
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.people import example_users
from personalrm.preferences.personas import Claim, Persona
from personalrm.stylometry.claims import link_claim
from personalrm.stylometry.observations import observe
from personalrm.testing import ScriptedLM
from personalrm.testing.skill import failing, skilled

USERS = {user.user_id: user for user in example_users()}


@pytest.fixture(scope="module")
def mara():
    return next(p for p in EmbeddedFit.learned_from(USERS.values()).fit(list(USERS.values())) if p.user_id == "mara")


def saying(prompt, *texts: str):
    return replace(prompt, persona=Persona(tuple(Claim(text) for text in texts)), demonstrations=())


def model(rule, prompt, **options):
    lm = ScriptedLM(rule)
    with Caller(lm) as caller:
        return ablate_claims(prompt, USERS["mara"].pairs, ModelJudge(caller), **options), lm


def test_dropping_the_true_claim_lowers_the_chance_of_the_real_choices(mara):
    found = ablate_claims(mara, USERS["mara"].pairs)
    assert (found.effects[0].claim, found.effects[0].shift > 0.05) == (mara.persona.claims[0], True)
    assert found.n_seen == len(mara.roles)


def test_a_false_claim_is_worth_less_than_nothing(mara):
    effect = ablate_claims(saying(mara, "Prefers far longer answers."), USERS["mara"].pairs).effects[0]
    assert (effect.shift < -0.05, effect.n_wronged > effect.n_righted) == (True, True)


def test_a_sentence_the_engine_cannot_use_changes_nothing(mara):
    effect = ablate_claims(saying(mara, "Collects stamps."), USERS["mara"].pairs).effects[0]
    assert (effect.shift, effect.n_changed, effect.measured, effect.p) == (0.0, 0, None, 1.0)


def test_of_two_claims_about_one_feature_the_later_one_counts(mara):
    both = ablate_claims(
        saying(mara, "Prefers far shorter answers.", "Prefers far longer answers."), USERS["mara"].pairs
    )
    assert both.effects[1].shift < 0.0


def test_a_model_is_asked_in_both_orders_with_and_without_each_claim(mara):
    told = saying(mara, "Prefers shorter answers.", "Collects stamps.")
    found, lm = model(skilled(1.0), told)
    assert len(lm.requests) <= n_ablation_calls(2, len(USERS["mara"].pairs)) == 6 * len(USERS["mara"].pairs)
    assert (found.effects[0].n_righted > 5, found.effects[1].n_changed) == (True, 0)


def test_calls_that_do_not_reach_leave_the_oldest_pairs_out(mara):
    found, lm = model(skilled(1.0), saying(mara, "Prefers shorter answers."), max_calls=13)
    assert (found.n_pairs, found.n_left_out, len(lm.requests)) == (3, len(USERS["mara"].pairs) - 3, 12)


def test_replies_that_say_nothing_are_unscored_and_no_effect(mara):
    found, _ = model(failing, saying(mara, "Prefers shorter answers."))
    assert (found.n_pairs, found.n_unscored) == (0, len(USERS["mara"].pairs))
    assert math.isnan(found.effects[0].shift) and math.isnan(found.effects[0].adjusted_p)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: (replace(p, persona=Persona()), USERS["mara"].pairs), "no claim"),
        (lambda p: (p, ()), "no choice of user 'mara'"),
        (lambda p: (p, USERS["sam"].pairs), "a pair is of user 'sam'"),
    ],
)
def test_what_cannot_be_tested_is_refused(mara, change, says):
    with pytest.raises(BadInput, match=says):
        ablate_claims(*change(mara))


def test_too_few_calls_for_one_pair_are_refused(mara):
    with pytest.raises(BadInput, match="3 calls are too few"):
        model(skilled(1.0), saying(mara, "Prefers shorter answers."), max_calls=3)


def test_a_prompt_of_a_model_needs_a_model(mara):
    with pytest.raises(ModelUnavailable, match="carries no weights"):
        ablate_claims(replace(mara, weights=(), judge="some-model"), USERS["mara"].pairs)


def test_a_sentence_written_by_hand_is_linked_to_pairs_that_agree_and_disagree():
    choices = observe(USERS["mara"].pairs)
    linked = link_claim("Loves brief answers.", choices)
    opposite = link_claim("Loves long answers.", choices)
    assert linked is not None and opposite is not None
    assert (linked.supporting, linked.contradicting) == (opposite.contradicting, opposite.supporting)
    assert len(linked.supporting) > len(linked.contradicting)


def test_pairs_with_one_id_are_each_judged(mara):
    twins = [
        PreferencePair("mara", p.conversation, p.chosen, p.rejected, pair_id="same") for p in USERS["mara"].pairs[:4]
    ]
    assert ablate_claims(mara, twins).n_pairs == 4
