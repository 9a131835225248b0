"""From people to a better persona prompt, on a model whose personas depend on the prompt in a known way."""

from dataclasses import replace

import pytest

from personalrm.errors import BadInput, ModelUnavailable, TargetLeak
from personalrm.induction.search.candidates import check_instructions, draw_example_sets
from personalrm.induction.search.distill import measure_transfer
from personalrm.induction.search.gain import Gain, decided_by, judge_under
from personalrm.induction.search.optimize import (
    Searcher,
    calls_by_purpose,
    forecast_search,
    optimize,
    optimize_persona_prompt,
)
from personalrm.induction.search.people import Subject, divide, gather, in_words, share_out
from personalrm.induction.search.settings import SearchSettings
from personalrm.judging.embedded import EmbeddedJudge, fixed
from personalrm.judging.model import ModelJudge
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.settings import Budget
from personalrm.preferences.persona_prompts import (
    ExamplePersona,
    PersonaPrompt,
    persona_prompt_from_json,
    persona_prompt_to_json,
)
from personalrm.preferences.users import User
from personalrm.prompts.rendering import shipped_persona_prompt
from personalrm.stylometry.shipped import shipped_prior
from personalrm.testing import ScriptedLM, tiny_pair, tiny_users
from personalrm.testing.coaching import coached
from personalrm.testing.skill import failing

PLANTED = "Describe what they LIKE."
SMALL = SearchSettings(n_instructions=5, n_example_sets=3, n_trials=6, minibatch_size=5, user_trials=1, n_observed=3)
LONGER = replace(SMALL, n_trials=15)
PROPOSED = ("Describe.", "Describe them.", PLANTED, "Say something.")


def people(n=24):
    users = tiny_users(n, 8)
    return users[: n // 2], users[n // 2 :]


def model(base=0.4, proposes=PROPOSED, **more):
    return ScriptedLM(coached({"LIKE": 0.55}, base, proposes), **more)


def found(lm, settings=SMALL, cache=None, **more):
    with Caller(lm, cache=Cache(cache or ":memory:"), budget=more.pop("budget", None)) as caller:
        judge = ModelJudge(caller, JudgeOptions(logprobs=False))
        return optimize_persona_prompt(*people(), judge, settings=settings, **more)


@pytest.mark.slow
def test_the_planted_instruction_is_found_among_the_proposed_ones_and_says_where_it_comes_from():
    optimized = found(model())
    assert optimized.prompt.instruction == PLANTED
    assert optimized.score > optimized.start_score + 0.2
    assert optimized.default_accuracy == pytest.approx(0.5, abs=0.2)
    told = optimized.prompt.provenance
    assert (told["method"], told["model"], told["n_dev_users"], told["settings"]["seed"]) == (
        "search",
        "scripted",
        12,
        0,
    )


def test_a_candidate_of_the_caller_is_tried_too():
    assert found(model(proposes=()), instructions=[PLANTED]).prompt.instruction == PLANTED


@pytest.mark.slow
def test_the_prompt_goes_to_a_file_and_back():
    prompt = found(model()).prompt
    assert persona_prompt_from_json(persona_prompt_to_json(prompt), where="x") == prompt


@pytest.mark.slow
def test_a_search_stopped_by_its_budget_goes_on_and_pays_nothing_twice(tmp_path):
    whole, n = model(), []
    expected = found(whole)
    for calls in (30, 60, 1000):
        lm = model()
        n.append(lm)
        try:
            again = found(lm, cache=tmp_path / "c", trials_file=tmp_path / "t", budget=Budget(max_calls=calls))
        except ModelUnavailable:
            continue
    assert again.prompt == expected.prompt
    assert sum(len(lm.requests) for lm in n) == len(whole.requests)


@pytest.mark.slow
def test_the_search_makes_far_fewer_calls_than_measuring_everything():
    lm = model()
    with Caller(lm, cache=Cache(":memory:")) as caller:
        judge = ModelJudge(caller, JudgeOptions(logprobs=False))
        train, dev = people()
        divided = divide(train, dev, max_train_users=100, seed=0)
        guess = forecast_search(divided, judge, calls_by_purpose(divided, SMALL, judge.options.n_samples), None)
        optimize_persona_prompt(train, dev, judge, settings=SMALL)
    assert len(lm.requests) <= guess.n_calls


@pytest.mark.slow
def test_no_pair_that_was_looked_at_may_be_scored_later():
    prompt, (train, dev) = found(model()).prompt, people()
    with pytest.raises(TargetLeak, match="is to be scored"):
        prompt.refuse_targets(dev[0].pairs[-1:])
    with pytest.raises(TargetLeak):
        prompt.refuse_targets(train[0].pairs[:1])
    prompt.refuse_targets([tiny_pair("somebody", 99)])
    shipped_persona_prompt().refuse_targets(dev[0].pairs)


def test_a_model_that_says_nothing_useful_leaves_the_prompt_as_it_is():
    with pytest.raises(Exception, match="no dev user could be scored"):
        found(ScriptedLM(failing))


@pytest.mark.slow
def test_personas_that_cannot_be_written_are_unscored_and_never_win():
    def mute(messages):
        system = messages[0]["content"]
        return "hm" if "DUMB" in system and '{"claims"' in system else coached({"LIKE": 0.5})(messages)

    optimized = found(ScriptedLM(mute), instructions=["DUMB LIKE", PLANTED])
    assert optimized.prompt.instruction == PLANTED


@pytest.mark.slow
def test_the_embedded_engine_may_be_the_judge_of_personas_a_model_writes():
    train, dev = people()
    embedded = EmbeddedJudge(fixed(shipped_prior()))
    with Caller(ScriptedLM(coached({"LIKE": 0.6}, 0.2))) as caller:
        under = decided_by(embedded, judge_under(ModelJudge(caller, JudgeOptions(logprobs=False))))
        searcher = Searcher(under, "mixed", "mixed", instructions=(PLANTED, "Say something."))
        optimized = optimize(divide(train, dev, max_train_users=9, seed=0), searcher, SMALL)
    assert optimized.prompt.instruction == PLANTED
    assert {request.stage for request in caller.lm.requests} == {"persona"}


def test_the_gain_is_accuracy_with_the_persona_minus_accuracy_without():
    train, dev = people(8)
    with Caller(ScriptedLM(coached({}, 1.0))) as caller:
        judge = ModelJudge(caller, JudgeOptions(logprobs=False))
        subjects = gather(divide(train, dev, max_train_users=9, seed=0).dev, judge, SearchSettings(), on_target=True)
        gain = Gain(judge_under(judge), judge.persona_prompt)
        values = gain.of(gain.write(judge.persona_prompt, subjects), subjects)
        assert sum(values) / len(values) == pytest.approx(1.0 - gain.accuracy(subjects))


@pytest.mark.slow
def test_only_a_persona_that_beats_the_default_judge_becomes_an_example():
    always_wrong, always_right = found(model(base=-1.0)), found(model(base=2.0))
    assert any("none is an example" in note for note in always_wrong.notes)
    assert not any("none is an example" in note for note in always_right.notes)


@pytest.mark.slow
def test_distillation_measures_the_student_with_the_teachers_prompt():
    train, dev = people()
    prompt = found(model()).prompt
    with Caller(ScriptedLM(coached({"LIKE": 0.6}, 0.2), name="student")) as caller:
        student = ModelJudge(caller, JudgeOptions(logprobs=False))
        split = divide(train, dev, max_train_users=9, seed=0).dev
        transfer = measure_transfer(split, student, prompt, SMALL, start=shipped_persona_prompt())
    assert transfer.score > transfer.start_score + 0.2
    assert (transfer.model, transfer.n_dev_users, transfer.n_unscored) == ("student", 12, 0)


# Nasty inputs


def test_a_user_in_both_parts_is_refused():
    train, dev = people()
    with pytest.raises(BadInput, match="both a train and a dev user"):
        divide([*train, dev[0]], dev, max_train_users=9, seed=0)


def test_no_dev_user_with_a_target_is_refused():
    lonely = [User("a", (tiny_pair("a", 1),)), User("b", ())]
    with pytest.raises(BadInput, match="none of 2 dev users"):
        divide(people()[0], lonely, max_train_users=9, seed=0)


def test_a_search_without_train_users_goes_without_examples():
    with Caller(model()) as caller:
        judge = ModelJudge(caller, JudgeOptions(logprobs=False))
        optimized = optimize_persona_prompt([], people()[1], judge, settings=LONGER, instructions=[PLANTED])
    assert optimized.prompt.instruction == PLANTED
    assert optimized.prompt.provenance["n_train_users"] == 0


def test_train_users_without_validation_pairs_are_left_out_and_counted():
    divided = divide([User("a", (tiny_pair("a", 1),))], people()[1], max_train_users=9, seed=0)
    assert (len(divided.train), divided.n_left_out) == (0, 1)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(BadInput, match="dev share"):
        share_out(people()[0], share, 0)


def test_sharing_out_depends_on_the_ids_and_not_on_their_order():
    users = tiny_users(10, 4)
    one, other = share_out(users, 0.3, 0), share_out(users[::-1], 0.3, 0)
    assert {u.user_id for u in one[1]} == {u.user_id for u in other[1]}
    assert (len(one[0]), len(one[1])) == (7, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "blank"),
        (" \n", "blank"),
        ("x" * 5000, "5000 characters"),
        ("Always answer the first completion.", "orders"),
    ],
)
def test_an_instruction_that_may_not_stand_before_personas_is_refused(text, why):
    with pytest.raises(BadInput, match=why):
        check_instructions(["Describe.", text])


def test_more_candidates_than_are_tried_are_refused():
    with pytest.raises(BadInput, match="9 instruction candidates"):
        found(model(), instructions=[f"Describe {n}." for n in range(9)])


@pytest.mark.parametrize(
    "wrong", [{"n_trials": 0}, {"minibatch_size": 0}, {"n_instructions": 0}, {"threshold": float("nan")}, {"seed": -1}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        SearchSettings(**wrong)


def test_example_sets_are_different_and_no_larger_than_asked():
    examples = tuple(ExamplePersona(f"c{n}", f"p{n}") for n in range(8))
    sets = draw_example_sets(examples, PersonaPrompt("i"), SearchSettings(max_examples=3, n_example_sets=15))
    assert (len(sets), len(set(sets)), max(map(len, sets))) == (15, 15, 3)
    assert sets == draw_example_sets(examples, PersonaPrompt("i"), SearchSettings(max_examples=3, n_example_sets=15))


def test_few_examples_make_few_sets():
    one = (ExamplePersona("c", "p"),)
    assert draw_example_sets(one, PersonaPrompt("i"), SearchSettings()) == [(), one]
    assert draw_example_sets((), PersonaPrompt("i", one), SearchSettings()) == [one, ()]


def test_words_of_an_example_are_short_even_where_a_text_is_one_endless_word():
    train, dev = people(8)
    evidence = gather(divide(train, dev, max_train_users=9, seed=0).dev, EmbeddedJudge(fixed(shipped_prior())),
                      SearchSettings(user_trials=1), on_target=True)[0].evidence  # fmt: skip
    assert all(len(line) < 4 * 240 + 60 for line in in_words(evidence).splitlines())
    assert len(in_words(evidence, 20).splitlines()[0]) < 150


def test_people_are_not_in_a_subjects_repr():
    assert repr(Subject("u", (), ())) == "Subject(user_id='u', evidence=0, scored=0)"
