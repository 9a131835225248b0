import pytest

from personalrm.errors import BadInput
from personalrm.induction.draws import assign_roles, in_balanced_order, record_roles
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import NO_REASONING, NO_VALIDATION, synthesize
from personalrm.induction.trials import TrialResult
from personalrm.induction.waves import run_together
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.verdicts import Verdict
from personalrm.testing import ScriptedJudge, prefer_shorter, tiny_pair

PAIRS = [tiny_pair(number=k) for k in range(10)]


def induce(judge, pairs=PAIRS, *, recorded=None, **settings):
    settings = InductionSettings(**({"variant": "both"} | settings))
    return next(run_together([synthesize("u1", pairs, settings, judge=judge.name, recorded=recorded)], judge))


def test_both_is_five_waves_whatever_the_number_of_trials():
    judge = ScriptedJudge(prefer_shorter)
    induce(judge, n_trials=20)
    assert (len(judge.waves), len(judge.persona_questions)) == (4, 1)


def test_a_full_fit_asks_at_most_its_bound_of_calls():
    judge = ScriptedJudge(prefer_shorter)
    induce(judge)
    n_t, n_v, n_trials = 7, 3, 10
    assert sum(map(len, judge.waves)) + 1 <= 2 * n_t + 2 * (n_trials + 1) * n_v * 2 + 1


def test_only_reasoning_that_reached_the_real_choice_is_kept():
    judge = ScriptedJudge(lambda q: Verdict("first", 1.0, "it comes first"))
    prompt = induce(judge, variant="demonstrations")
    reasoned = [d for d in prompt.demonstrations if d.has_reasoning]
    assert reasoned
    assert all(d.shown.chosen_first for d in reasoned)


def test_the_first_bootstrap_knows_nothing_of_the_user():
    judge = ScriptedJudge(prefer_shorter)
    induce(judge)
    assert all(question.persona is None and not question.demonstrations for question in judge.waves[0])
    assert all(question.persona is not None for wave in judge.waves[2:] for question in wave)


def test_just_demonstrations_never_asks_for_a_persona():
    judge = ScriptedJudge(prefer_shorter)
    prompt = induce(judge, variant="demonstrations")
    assert (judge.persona_questions, prompt.persona.claims) == ([], ())


def test_just_persona_has_no_demonstrations():
    assert induce(ScriptedJudge(prefer_shorter), variant="persona").demonstrations == ()


def test_a_judge_that_is_never_right_leaves_the_pairs_and_a_note():
    wrong = ScriptedJudge(lambda q: Verdict("second" if len(q.first) < len(q.second) else "first", 0.0, "longer"))
    prompt = induce(wrong, max_plain=0)
    assert NO_REASONING in prompt.notes
    assert len(wrong.persona_questions[0].demonstrations) == 7
    assert not any(d.has_reasoning for d in wrong.persona_questions[0].demonstrations)


def test_without_validation_pairs_all_kept_reasonings_are_used():
    judge = ScriptedJudge(prefer_shorter)
    prompt = induce(judge, PAIRS[:1])
    assert NO_VALIDATION in prompt.notes
    assert len(prompt.demonstrations) == 1


def test_validation_is_judged_in_both_orders():
    judge = ScriptedJudge(prefer_shorter)
    induce(judge)
    first = {(q.first, q.second) for q in judge.waves[1]}
    assert {(b, a) for a, b in first} == first


def test_unscored_verdicts_count_half_and_stop_nothing():
    judge = ScriptedJudge(lambda q: Verdict(None, unscored_reason="no answer"))
    assert NO_REASONING in induce(judge).notes


def test_shown_orders_are_balanced_and_survive_new_pairs():
    shown = in_balanced_order(PAIRS, seed=3)
    assert sum(ordered.chosen_first for ordered in shown) == 5
    assert in_balanced_order([*PAIRS, tiny_pair(number=99)], seed=3)[:10] == shown


D1, D2 = (Demonstration(shown) for shown in in_balanced_order(PAIRS[:2], 0))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (TrialResult(1, (D1,), 9, 5, 10), TrialResult(2, (D1, D2), 8, 9, 10)),
        (TrialResult(1, (D1,), 8, 5, 10), TrialResult(0, (), 8, 9, 10)),
        (TrialResult(2, (D1,), 8, 7, 10), TrialResult(1, (D1, D2), 8, 6, 10)),
        (TrialResult(2, (D1, D2), 8, 7, 10), TrialResult(1, (D1,), 8, 7, 10)),
        (TrialResult(1, (D1,), 8, 7, 10), TrialResult(2, (D2,), 8, 7, 10)),
        (TrialResult(0, (), 9, 7, 10), TrialResult(1, (D1, D2), 8, 9, 10)),
    ],
)
def test_ties_between_trials_follow_the_rule(better, worse):
    assert max(worse, better, key=lambda result: result.rank) is better


def test_roles_never_change_and_a_new_pair_follows_its_conversation():
    pairs = [tiny_pair(number=k, conversation_id=f"c{k}") for k in range(6)]
    recorded = record_roles(assign_roles(pairs, {}))
    late = tiny_pair(number=50, conversation_id="c5")
    roles = record_roles(assign_roles([*pairs, late, *[tiny_pair(number=k) for k in range(60, 90)]], recorded))
    assert {key: roles[key] for key in recorded} == recorded
    assert roles[late.hash] == recorded[pairs[5].hash]
    assert 0.4 < list(roles.values()).count("train") / len(roles) < 0.95


def test_the_role_of_a_new_pair_does_not_depend_on_what_else_is_new():
    recorded = record_roles(assign_roles(PAIRS, {}))
    new = [tiny_pair(number=k) for k in range(20, 30)]
    together = record_roles(assign_roles([*PAIRS, *new], recorded))
    assert all(record_roles(assign_roles([*PAIRS, pair], recorded))[pair.hash] == together[pair.hash] for pair in new)


def test_adding_one_train_pair_asks_for_one_more_bootstrap_only():
    judge = ScriptedJudge(prefer_shorter)
    before = induce(judge)
    late = next(
        p
        for p in (tiny_pair(number=k) for k in range(50, 99))
        if record_roles(assign_roles([*PAIRS, p], before.roles))[p.hash] == "train"
    )
    again = ScriptedJudge(prefer_shorter)
    induce(again, [*PAIRS, late], recorded=before.roles)
    asked = {(q.first, q.second) for q in judge.waves[0]}
    assert len({(q.first, q.second) for q in again.waves[0]} - asked) == 1


def test_target_rows_are_left_out_of_a_fit():
    pairs = [*PAIRS, tiny_pair(number=70, split="target")]
    assert tiny_pair(number=70).hash not in induce(ScriptedJudge(prefer_shorter), pairs).roles


@pytest.mark.parametrize(
    "settings",
    [{"variant": "all"}, {"n_trials": 0}, {"max_plain": -1}, {"validation_orders": "none"}, {"max_bootstrapped": 0}],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(BadInput):
        InductionSettings(**settings)


def test_waves_of_several_users_are_asked_together():
    judge = ScriptedJudge(prefer_shorter)
    settings = InductionSettings(variant="both")
    users = [[tiny_pair(f"u{n}", k) for k in range(6)] for n in range(5)]
    prompts = list(run_together([synthesize(p[0].user_id, p, settings, judge="scripted") for p in users], judge))
    assert len(judge.waves) == 4
    assert prompts == [
        next(run_together([synthesize(p[0].user_id, p, settings, judge="scripted")], ScriptedJudge(prefer_shorter)))
        for p in users
    ]
