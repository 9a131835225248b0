import random
from dataclasses import replace

import numpy as np
import pytest

from personalrm.errors import BadInput, BadRow, ModelUnavailable
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.judging.embedded import EmbeddedJudge, fixed
from personalrm.judging.personal import judge_pair, rank_completions, usable_weights
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import PersonaQuestion, Question
from personalrm.stylometry.feature_words import INDEX
from personalrm.stylometry.sentences import unused_sentences
from personalrm.stylometry.shipped import shipped_prior
from personalrm.testing import LONG, SHORT, tiny_pair, tiny_users

ASKED = (Message("user", "How do I get to the lake?"),)
SHORTER = Claim("Prefers far shorter answers than most people.")


def question(first=SHORT, second=LONG, claims=(), pairs=()):
    demonstrations = tuple(Demonstration(OrderedPair(pair, True)) for pair in pairs)
    return Question("u1", ASKED, first, second, Persona(tuple(claims)), demonstrations)


@pytest.fixture
def judge():
    return EmbeddedJudge(fixed(shipped_prior()))


@pytest.fixture
def prompt():
    return next(EmbeddedFit.learned_from(tiny_users(8)).fit(tiny_users(8)[1:2]))


def test_swapping_the_completions_swaps_the_verdict(judge):
    one, other = judge.judge([question(), question(LONG, SHORT)])
    assert one.probability == pytest.approx(1 - other.probability, abs=1e-12)
    assert {one.choice, other.choice} == {"first", "second"}


def test_identical_completions_are_a_tie(judge):
    (verdict,) = judge.judge([question(SHORT, SHORT)])
    assert (verdict.choice, verdict.probability) == (None, 0.5)


def test_a_claim_moves_the_verdict_its_way(judge):
    plain, claimed = judge.judge([question(), question(claims=[SHORTER])])
    assert claimed.probability > plain.probability


def test_demonstrations_move_the_verdict_their_way(judge):
    pairs = [tiny_pair(number=k) for k in range(4)]
    plain, shown = judge.judge([question(), question(pairs=pairs)])
    assert shown.probability > plain.probability
    assert (plain.too_few_pairs, shown.too_few_pairs) == (True, False)


def test_the_order_of_questions_and_demonstrations_does_not_matter(judge):
    pairs = [tiny_pair(number=k) for k in range(5)]
    turned = random.Random(0).sample(pairs, 5)
    alone = judge.judge([question(pairs=pairs)])[0]
    together = judge.judge([question(), question(pairs=turned), question(LONG, SHORT)])[1]
    assert together.probability == pytest.approx(alone.probability, abs=1e-7)


def test_a_reason_names_what_decides(judge):
    (verdict,) = judge.judge([question(claims=[SHORTER])])
    assert "shorter answer" in verdict.reasoning


def test_a_persona_is_described_for_each_question(judge):
    shown = tuple(Demonstration(OrderedPair(tiny_pair(number=k), True)) for k in range(12))
    personas = judge.describe([PersonaQuestion("u1", shown), PersonaQuestion("u2", ())])
    assert len(personas) == 2
    assert not personas[1].claims


def test_a_saved_prompt_judges_like_its_weights(prompt):
    weights = usable_weights(prompt)
    verdict = judge_pair(prompt, ASKED, SHORT, LONG)
    assert verdict.choice == "first"
    assert verdict.positions_agree
    assert verdict.probability > 0.5
    assert len(weights.mean) == len(INDEX)


def test_removing_a_sentence_takes_its_feature_back_to_the_population(prompt):
    written = replace(prompt, persona=Persona((SHORTER,)), written=(SHORTER.text,))
    removed = usable_weights(replace(written, persona=Persona()))
    assert removed.mean[INDEX["length"]] == removed.prior.mean[INDEX["length"]]
    assert np.array_equal(usable_weights(written).mean, usable_weights(prompt).mean)


def test_adding_a_sentence_moves_its_feature(prompt):
    edited = replace(
        prompt, persona=Persona((Claim("Prefers far longer answers."), Claim("Has two cats."))), written=()
    )
    weights = usable_weights(edited)
    assert weights.mean[INDEX["length"]] == pytest.approx(weights.prior.mean[INDEX["length"]] + 0.7)
    assert unused_sentences(edited) == ["Has two cats."]


def test_ranking_agrees_with_judging(prompt):
    texts = [LONG, SHORT, LONG + LONG]
    ranking = rank_completions(prompt, ASKED, texts)
    assert ranking.best == 1
    assert sorted(ranking.order) == [0, 1, 2]
    assert judge_pair(prompt, ASKED, texts[ranking.order[0]], texts[ranking.order[1]]).choice == "first"


def test_nothing_to_rank_and_nothing_to_answer_are_refused(prompt):
    with pytest.raises(BadInput, match="no completions"):
        rank_completions(prompt, ASKED, [])
    with pytest.raises(BadRow, match="no user turn"):
        judge_pair(prompt, (Message("system", "x"),), "a", "b")


def test_a_prompt_without_weights_needs_a_model(prompt):
    with pytest.raises(ModelUnavailable, match="'gpt'"):
        judge_pair(replace(prompt, weights=(), judge="gpt"), ASKED, "a", "b")
    with pytest.raises(BadInput, match="'length'"):
        judge_pair(replace(prompt, weights=prompt.weights[1:]), ASKED, "a", "b")
