"""What an induction says that it asks, held against what it asks."""

from dataclasses import replace

import pytest

from personalrm.induction.baselines import PROFILE_CALLS, guided_profile, memory_calls, raw_history, remember
from personalrm.induction.draws import in_balanced_order
from personalrm.induction.settings import VARIANTS, InductionSettings
from personalrm.induction.synthesize import synthesis_calls, synthesis_steps, synthesize
from personalrm.induction.trials import draw_candidates
from personalrm.induction.waves import Answers, Calls
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.splits import split_context
from personalrm.preferences.verdicts import Verdict
from personalrm.testing import prefer_shorter, tiny_pair

PAIRS = tuple(tiny_pair("u", k) for k in range(12))
SETTINGS = InductionSettings(n_trials=3)


def play(induction, answer=prefer_shorter):
    """The waves of an induction whose every question is answered."""
    waves = []
    try:
        wave = next(induction)
        while True:
            waves.append(wave)
            verdicts = [answer(question) for question in wave.questions]
            wave = induction.send(
                Answers(verdicts, [Persona((Claim("Wants it short."),))] * len(wave.persona_questions))
            )
    except StopIteration:
        return waves


def asked(waves):
    return Calls(sum(len(wave.questions) for wave in waves), sum(len(wave.persona_questions) for wave in waves))


def parts(n_train, n_validation):
    roles = ["train"] * n_train + ["validation"] * n_validation
    return tuple(replace(pair, split=role) for pair, role in zip(PAIRS, roles, strict=False))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("n_train", "n_validation"), [(8, 4), (5, 0), (1, 3), (0, 4)])
@pytest.mark.parametrize("orders", ["both", "one"])
def test_synthesize_asks_no_more_than_it_says_wave_by_wave(variant, n_train, n_validation, orders):
    settings = replace(SETTINGS, variant=variant, validation_orders=orders)
    pairs = parts(n_train, n_validation)
    waves, steps = play(synthesize("u", pairs, settings, judge="m")), synthesis_steps(split_context(pairs), settings)
    assert [wave.step for wave in waves] == [name for name, _ in steps]
    for wave, (_, most) in zip(waves, steps, strict=True):
        assert len(wave.questions) <= most.questions
        assert len(wave.persona_questions) == most.texts


@pytest.mark.parametrize("variant", VARIANTS)
def test_synthesize_asks_exactly_what_it_says_where_all_candidates_differ(variant):
    pairs, settings = parts(8, 4), replace(SETTINGS, variant=variant)
    split = split_context(pairs)
    train = in_balanced_order(split.train, settings.seed)
    right = {(ordered.first, ordered.second): Verdict("first" if ordered.chosen_first else "second", None, "because")
             for ordered in train}  # fmt: skip

    def answer(question):
        return right.get((question.first, question.second)) or prefer_shorter(question)

    kept = [Demonstration(ordered, "because") for ordered in train]
    assert len(draw_candidates(kept, train, settings)) == settings.n_trials + 1
    assert asked(play(synthesize("u", pairs, settings, judge="m"), answer)) == synthesis_calls(split, settings)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cost_schedule_asks_no_more(variant):
    settings = replace(SETTINGS, variant=variant, schedule="cost")
    found, most = (
        asked(play(synthesize("u", PAIRS, settings, judge="m"))),
        synthesis_calls(split_context(PAIRS), settings),
    )
    assert found.questions <= most.questions
    assert found.texts == most.texts


def test_the_baselines_ask_exactly_what_they_say():
    declared = (*parts(3, 2), replace(PAIRS[5], split="target"))
    for pairs in (PAIRS, PAIRS[:1], declared):
        assert asked(play(remember("u", pairs, SETTINGS, judge="m"))) == memory_calls(pairs)
        assert asked(play(guided_profile("u", pairs, SETTINGS, judge="m"))) == PROFILE_CALLS
    assert memory_calls(declared) == Calls(texts=5)
    assert raw_history("u", PAIRS, SETTINGS).persona == Persona()


def test_samples_are_drawn_of_questions_and_not_of_texts():
    assert (Calls(3, 2) + Calls(1, 1)).total(n_samples=5) == 4 * 5 + 3
