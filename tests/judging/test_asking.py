from dataclasses import replace

import pytest

from personalrm import Candidate, SynthesizeMe
from personalrm.errors import BadInput, BadRow, ModelUnavailable
from personalrm.judging.asking import next_questions, posterior_of
from personalrm.preferences.messages import Message
from personalrm.preferences.people import example_users
from personalrm.preferences.verdicts import Verdict
from personalrm.testing import ScriptedJudge, tiny_pair, tiny_users

USER = tiny_users(2)[1]
MODEL = SynthesizeMe().fit(USER)
ASKED = (Message("user", "How do I get there?"),)


def candidate(first, second, asked=ASKED):
    return Candidate(asked, first, second)


SAME = candidate("Take the train.", "Take the tram.")
LONG = candidate("Yes.", "Yes, take the early train, sit on the left for the view and bring a lot of food. " * 6)


def test_the_more_different_pair_is_asked_first():
    assert [question.place for question in MODEL.next_questions([SAME, LONG], n=2)] == [1, 0]


def test_the_reason_names_features_in_words():
    assert MODEL.next_questions([LONG])[0].reason.startswith("would tell most about: ")


def test_a_pair_that_was_answered_is_not_asked_again_in_either_order():
    pair = USER.pairs[0]
    answered = Candidate(pair.conversation, pair.chosen, pair.rejected)
    swapped = Candidate(pair.conversation, pair.rejected, pair.chosen)
    assert [question.place for question in MODEL.next_questions([answered, swapped, LONG], n=3)] == [2]


def test_equal_candidates_are_asked_once():
    turned = candidate(LONG.second, LONG.first)
    assert [question.place for question in MODEL.next_questions([LONG, LONG, turned], n=3)] == [0]


@pytest.mark.parametrize(("first", "second"), [("", "Yes."), ("  ", "Yes."), ("Yes.", "Yes.")])
def test_a_candidate_that_tells_nothing_is_refused(first, second):
    with pytest.raises(BadInput):
        candidate(first, second)


def test_a_conversation_that_cannot_be_answered_is_refused():
    with pytest.raises(BadRow):
        candidate("Yes.", "No.", (Message("assistant", "Hello."),))


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_question_is_refused(n):
    with pytest.raises(BadInput, match="at least one"):
        MODEL.next_questions([LONG], n=n)


def test_no_candidates_give_no_question():
    assert MODEL.next_questions([]) == []


def test_more_questions_than_candidates_give_all_of_them():
    assert len(MODEL.next_questions([SAME, LONG], n=99)) == 2


def test_with_the_pairs_at_hand_the_posterior_is_the_exact_one():
    exact, saved = posterior_of(MODEL.prompt, USER.pairs), posterior_of(MODEL.prompt)
    assert exact.mean == pytest.approx(saved.mean, abs=1e-5)
    assert exact.sd == pytest.approx(saved.sd, abs=1e-5)
    assert abs(exact.covariance - saved.covariance).max() > 1e-3


@pytest.mark.parametrize("seen", [[tiny_pair("u1", 77)], USER.pairs[:2], tiny_users(1)[0].pairs])
def test_pairs_the_prompt_was_not_made_from_are_refused(seen):
    with pytest.raises(BadInput, match="fit again"):
        next_questions(MODEL.prompt, [LONG], seen=seen)


def test_a_prompt_of_a_model_needs_a_model():
    with pytest.raises(ModelUnavailable):
        next_questions(replace(MODEL.prompt, weights=()), [LONG])


def test_a_change_of_taste_is_followed_by_the_exact_posterior_too():
    nadia = next(user for user in example_users() if user.user_id == "nadia")
    prompt = SynthesizeMe().fit(nadia).prompt
    assert posterior_of(prompt, nadia.pairs).mean == pytest.approx(posterior_of(prompt).mean, abs=1e-5)


def test_a_model_is_asked_in_both_orders_and_its_contradictions_come_first():
    agree = Verdict("first", 1.0), Verdict("second", 0.0)
    judge = ScriptedJudge(
        lambda q: Verdict("first", 1.0) if q.first in (SAME.first, SAME.second) else agree[q.first == LONG.second]
    )
    found = next_questions(MODEL.prompt, [LONG, SAME], n=2, judge=judge)
    assert [(question.place, question.bits) for question in found] == [(1, 1.0), (0, 0.0)]
    assert "contradicts itself: first in both orders" in found[0].reason
    assert len(judge.waves[0]) == 4


def test_a_pair_without_a_verdict_comes_last_and_says_why():
    judge = ScriptedJudge(
        lambda q: (
            Verdict(None, unscored_reason="refused") if LONG.first in (q.first, q.second) else Verdict("first", 1.0)
        )
    )
    found = next_questions(MODEL.prompt, [LONG, SAME], n=2, judge=judge)
    assert [(question.place, question.chance) for question in found][1] == (0, None)
    assert found[1].reason == "unscored: refused"


def test_texts_stay_out_of_the_repr():
    assert "early train" not in repr(LONG)
