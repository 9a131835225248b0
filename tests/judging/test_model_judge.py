import json
import math

import pytest

from personalrm.errors import AccessRefused, BadInput
from personalrm.judging.both_orders import ToRank, judge_both_orders, question_about, rank_with_judge
from personalrm.judging.model import ModelJudge, chance_of_first, nearest_demonstrations
from personalrm.judging.options import JudgeOptions
from personalrm.judging.personal import rank_completions
from personalrm.lm.batch import Caller
from personalrm.lm.protocol import Fault, TokenChances
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import PersonaQuestion, Question
from personalrm.prompts.delimiters import read_fields
from personalrm.testing import LONG, SHORT, ScriptedLM, tiny_pair
from personalrm.testing.skill import always_first, failing, skilled

ASKED = (Message("user", "How do I get there?"),)
SKILLED = skilled(1.0)
LIKES_SHORT = PersonalPrompt("u1", Persona((Claim("Prefers shorter answers."),)))


@pytest.fixture
def judge_of():
    """Makes a judge of a scripted model; closes it in the end."""
    callers = []

    def make(rule=SKILLED, options=None, **script):
        callers.append(Caller(ScriptedLM(rule, **script)))
        return ModelJudge(callers[-1], options)

    yield make
    for caller in callers:
        caller.close()


def said(choice, chance):
    """Tokens of a reply that gives `choice`, with P(first) = chance."""
    other = {"first": "second", "second": "first"}[choice]
    own = chance if choice == "first" else 1.0 - chance
    alternatives = ((choice, math.log(own)), (other, math.log(1.0 - own)))
    return [
        TokenChances('{"reasoning": "the first", "choice": "', ()),
        TokenChances(choice, alternatives),
        TokenChances('"}', ()),
    ]


def test_a_persona_decides_the_verdict(judge_of):
    judge = judge_of()
    known = question_about(LIKES_SHORT, ASKED, LONG, SHORT)
    unknown = question_about(PersonalPrompt("u1", Persona()), ASKED, LONG, SHORT)
    assert [verdict.choice for verdict in judge.judge([known, unknown])] == ["second", "first"]


def test_demonstrations_decide_too(judge_of):
    shown = tuple(Demonstration(OrderedPair(tiny_pair(number=k), chosen_first=k % 2 == 0)) for k in range(3))
    assert judge_of().judge([Question("u1", ASKED, LONG, SHORT, None, shown)])[0].choice == "second"


def test_both_orders_cancel_position_bias(judge_of):
    both = judge_both_orders(judge_of(always_first), [question_about(LIKES_SHORT, ASKED, LONG, SHORT)])[0]
    assert (both.verdict.choice, both.verdict.probability, both.verdict.positions_agree) == (None, 0.5, False)


def test_orders_that_agree_say_so(judge_of):
    both = judge_both_orders(judge_of(), [question_about(LIKES_SHORT, ASKED, LONG, SHORT)])[0]
    assert (both.verdict.choice, both.verdict.probability, both.verdict.positions_agree) == ("second", 0.0, True)


def test_one_unscored_order_leaves_the_decision_to_the_other(judge_of):
    def long_first(request, _):
        return (
            Fault("HTTP 400", "never")
            if request.messages[-1].content.find(LONG) < request.messages[-1].content.find(SHORT)
            else None
        )

    both = judge_both_orders(
        judge_of(faults=long_first), [question_about(LIKES_SHORT, ASKED, LONG, SHORT.replace("(", ""))]
    )[0]
    assert (both.as_asked.is_scored, both.verdict.choice, both.verdict.positions_agree) == (False, "second", None)


def test_an_unreadable_judge_is_unscored_with_a_reason(judge_of):
    verdict = judge_of(failing).judge([question_about(LIKES_SHORT, ASKED, "a", "b")])[0]
    assert (verdict.choice, verdict.probability, verdict.is_scored) == (None, None, False)
    assert "no verdict in the reply, after 4 attempts" in verdict.unscored_reason


def test_refused_access_is_an_error_not_a_verdict(judge_of):
    judge = judge_of(faults=lambda request, earlier: Fault("HTTP 401", "stop"))
    with pytest.raises(AccessRefused, match="HTTP 401"):
        judge.judge([question_about(LIKES_SHORT, ASKED, "a", "b")])


@pytest.mark.parametrize(("choice", "chance"), [("first", 0.9), ("second", 0.2), ("first", 0.51)])
def test_log_probabilities_become_the_probability(judge_of, choice, chance):
    judge = judge_of(lambda messages: json.dumps({"choice": choice}), tokens=lambda text: said(choice, chance))
    assert judge.judge([question_about(LIKES_SHORT, ASKED, "a", "b")])[0].probability == pytest.approx(chance)


def test_log_probabilities_that_contradict_the_text_are_not_used(judge_of):
    judge = judge_of(lambda messages: '{"choice": "first"}', tokens=lambda text: said("second", 0.1))
    assert judge.judge([question_about(LIKES_SHORT, ASKED, "a", "b")])[0].probability == 1.0


def test_the_deciding_token_may_be_split_or_bare():
    split = [
        TokenChances('"choice":', ()),
        TokenChances(' "', ()),
        TokenChances("sec", (("sec", math.log(0.6)), ("fir", math.log(0.2)))),
    ]
    assert chance_of_first(split) == pytest.approx(0.25)
    assert chance_of_first([TokenChances("A", (("A", math.log(0.75)), ("B", math.log(0.25))))]) == pytest.approx(0.75)
    assert chance_of_first([]) is None


@pytest.mark.parametrize(
    "alternatives",
    [(("first", -0.6),), (("first", -0.6), ("The", -1.0)), (("maybe", -0.1), ("both", -2.0)), ()],
)
def test_one_listed_label_says_nothing_of_the_other(alternatives):
    assert chance_of_first([TokenChances('{"choice": "', ()), TokenChances("first", alternatives)]) is None


@pytest.mark.parametrize("mark", ["Ġ", "▁", " ", '"', "Ċ", ""])
def test_labels_are_known_however_a_tokenizer_spells_them(mark):
    alternatives = ((f"{mark}first", math.log(0.6)), (f"{mark}second", math.log(0.2)))
    tokens = [TokenChances(f"{mark.strip()}choice:", ()), TokenChances(f"{mark}first", alternatives)]
    assert chance_of_first(tokens) == pytest.approx(0.75)


@pytest.mark.parametrize("listed", [(800.0, 0.0), (-math.inf, -math.inf), (0.0, -9999.0), (-math.inf, 0.0)])
def test_impossible_log_probabilities_stay_chances_or_say_nothing(listed):
    tokens = [TokenChances("first", (("first", listed[0]), ("second", listed[1])))]
    assert chance_of_first(tokens) in (None, 0.0, 0.5, 1.0)


def test_log_probabilities_of_another_text_are_not_used(judge_of):
    """Some servers give those of the thoughts, which are not in the reply."""
    other = [TokenChances("My choice: ", ()), *said("first", 0.7)[1:2], TokenChances(". No, wait", ())]
    judge = judge_of(lambda messages: '{"choice": "first"}', tokens=lambda text: other)
    assert judge.judge([question_about(LIKES_SHORT, ASKED, "a", "b")])[0].probability == 1.0


def test_samples_become_a_share(judge_of):
    replies = iter(["first", "second", "first", "first"])
    judge = judge_of(lambda messages: json.dumps({"choice": next(replies)}), JudgeOptions(n_samples=4))
    verdict = judge.judge([question_about(LIKES_SHORT, ASKED, "a", "b")])[0]
    assert (verdict.choice, verdict.probability) == ("first", 0.75)
    assert {request.sampling.temperature for request in judge.caller.lm.requests} == {1.0}


def test_the_shared_part_of_a_prompt_comes_first(judge_of):
    judge = judge_of()
    judge.judge([question_about(LIKES_SHORT, ASKED, "a", "b"), question_about(LIKES_SHORT, ASKED, "c", "d")])
    first, second = (request.messages[0].content for request in judge.caller.lm.requests)
    assert first == second


def test_the_oldest_turns_go_first_and_are_counted(judge_of):
    turns = tuple(Message(("user", "assistant")[k % 2], f"turn {k} " + "x" * 900) for k in range(9))
    judge = judge_of(options=JudgeOptions(max_prompt_tokens=1500))
    judge.judge([question_about(LIKES_SHORT, turns, "a", "b")])
    shown = read_fields(judge.caller.lm.requests[0].messages[-1].content, "turn")
    assert shown[-1].startswith("turn 8")
    assert (judge.losses.n_shortened, judge.losses.n_turns_left_out) == (1, 9 - len(shown))


def test_too_many_demonstrations_are_chosen_by_likeness_within_the_budget(judge_of):
    shown = tuple(Demonstration(OrderedPair(tiny_pair(number=k), chosen_first=True)) for k in range(200))
    judge = judge_of(options=JudgeOptions(max_prompt_tokens=4000))
    judge.judge([Question("u1", (Message("user", "How do I get to the lake on day 150?"),), "a", "b", None, shown)])
    assert judge.losses.n_retrieved == 1
    request = judge.caller.lm.requests[0]
    assert request.n_characters < 4000 * 3.5
    assert "lake on day 150?" in request.messages[0].content


def test_retrieval_keeps_the_given_order_and_prefers_shared_rare_words():
    shown = [Demonstration(OrderedPair(tiny_pair(number=k), chosen_first=True)) for k in range(100, 120)]
    found = nearest_demonstrations((Message("user", "the lake on day 107"),), shown, 700)
    assert "day 107?" in "".join(demonstration.shown.pair.conversation[0].content for demonstration in found)
    assert list(found) == [demonstration for demonstration in shown if demonstration in found]


def test_a_persona_is_written_with_its_evidence(judge_of):
    shown = tuple(Demonstration(OrderedPair(tiny_pair(number=k), chosen_first=True), "why") for k in range(3))
    persona = judge_of().describe([PersonaQuestion("u1", shown)])[0]
    assert persona.text == "Prefers shorter answers."
    assert persona.claims[0].supporting == ("u1-p0", "u1-p1", "u1-p2")


def test_an_unreadable_persona_says_why(judge_of):
    assert "no persona: " in judge_of(failing).describe([PersonaQuestion("u1", ())])[0].note


@pytest.mark.parametrize("tournament", ["round_robin", "knockout"])
def test_the_best_of_n_is_found(judge_of, tournament):
    completions = tuple("x" * n for n in (50, 20, 90, 10, 70))
    ranking = rank_with_judge(judge_of(), [ToRank(LIKES_SHORT, ASKED, completions)], tournament)[0]
    assert (ranking.best, ranking.order[0]) == (3, 3)
    assert sorted(ranking.order) == [0, 1, 2, 3, 4]


def test_a_knockout_needs_n_minus_one_comparisons_in_both_orders(judge_of):
    judge = judge_of()
    rank_with_judge(judge, [ToRank(LIKES_SHORT, ASKED, tuple("x" * n for n in range(1, 8)))], "knockout")
    assert len(judge.caller.lm.requests) == 2 * 6


def test_one_completion_is_the_best_of_one_and_none_is_an_error(judge_of):
    assert rank_completions(LIKES_SHORT, ASKED, ["only"], judge_of()).order == (0,)
    with pytest.raises(BadInput, match="no completions"):
        rank_completions(LIKES_SHORT, ASKED, [], judge_of())


@pytest.mark.parametrize(
    "options", [{"temperature": 3.0}, {"max_tokens": 0}, {"n_samples": 0}, {"max_prompt_tokens": 0}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(BadInput):
        JudgeOptions(**options)
