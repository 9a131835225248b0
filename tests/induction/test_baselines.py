"""Memory, guided profile and raw history: what is asked, in what order, and what is left when a reply is unreadable."""

from personalrm.induction.baselines import MOST_CHARACTERS, guided_profile, raw_history, remember
from personalrm.induction.settings import InductionSettings
from personalrm.induction.waves import Answers
from personalrm.preferences.personas import Claim, Persona
from personalrm.testing import tiny_pair, tiny_users

PAIRS = tiny_users(1, 4)[0].pairs
SETTINGS = InductionSettings()


def drive(induction, reply):
    """The questions an induction asks, wave by wave, and its prompt; `reply` gives the persona of a question."""
    waves = []
    try:
        wave = next(induction)
        while True:
            waves.append(wave)
            wave = induction.send(Answers([], [reply(len(waves), question) for question in wave.persona_questions]))
    except StopIteration as stop:
        return waves, stop.value


def numbered(n, _question):
    return Persona((Claim(f"Insight {n}.", (f"u0-p{n - 1}",)),))


def test_memory_walks_the_choices_in_order_and_shows_the_list_so_far():
    waves, prompt = drive(remember("u0", PAIRS, SETTINGS, judge="m"), numbered)
    asked = [wave.persona_questions[0] for wave in waves]
    assert [question.demonstrations[0].shown.pair.id for question in asked] == [pair.id for pair in PAIRS]
    assert [question.known for question in asked] == [tuple(f"Insight {k}." for k in range(1, n)) for n in range(1, 5)]
    assert [claim.text for claim in prompt.persona.claims] == [f"Insight {n}." for n in range(1, 5)]
    assert prompt.persona.claims[1].supporting == ("u0-p1",)


def test_memory_keeps_five_insights_of_a_choice_at_most():
    many = Persona(tuple(Claim(f"I{n}.") for n in range(9)))
    _, prompt = drive(remember("u0", PAIRS[:1], SETTINGS, judge="m"), lambda n, q: many)
    assert len(prompt.persona.claims) == 5


def test_memory_goes_on_without_a_reply_and_says_so():
    waves, prompt = drive(
        remember("u0", PAIRS, SETTINGS, judge="m"), lambda n, q: Persona() if n == 2 else numbered(n, q)
    )
    assert all(wave.may_miss for wave in waves)
    assert len(prompt.persona.claims) == 3
    assert prompt.notes == ("1 of 4 choices gave no insight that could be read",)


def test_memory_forgets_the_oldest_insights_when_the_list_grows_too_long():
    pairs = tuple(tiny_pair("u0", k) for k in range(8))
    _, prompt = drive(
        remember("u0", pairs, SETTINGS, judge="m"),
        lambda n, q: Persona((Claim(str(n) + "x" * (MOST_CHARACTERS // 4)),)),
    )
    assert [claim.text[0] for claim in prompt.persona.claims] == ["6", "7", "8"]
    assert prompt.notes == ("the 5 oldest insights were forgotten to keep the list short",)


def test_a_guided_profile_takes_two_calls_and_its_evidence_is_that_of_the_observations():
    def reply(_, question):
        if question.task == "digest":
            return Persona((Claim("Short ones.", ("u0-p0", "u0-p2")), Claim("Figures.", ("u0-p1",))))
        return Persona((Claim("In a hurry.", ("1", "2"), ("2",)),))

    waves, prompt = drive(guided_profile("u0", PAIRS, SETTINGS, judge="m"), reply)
    assert [wave.step for wave in waves] == ["digest", "profile"]
    assert len(waves[0].persona_questions[0].demonstrations) == 4
    assert waves[1].persona_questions[0].known == ("Short ones.", "Figures.")
    assert prompt.persona.claims == (Claim("In a hurry.", ("u0-p0", "u0-p2", "u0-p1"), ("u0-p1",)),)


def test_raw_history_shows_every_choice_without_reasoning_in_balanced_order():
    prompt = raw_history("u0", PAIRS, SETTINGS)
    assert [demonstration.shown.pair for demonstration in prompt.demonstrations] == list(PAIRS)
    assert not any(demonstration.has_reasoning for demonstration in prompt.demonstrations)
    assert sum(demonstration.shown.chosen_first for demonstration in prompt.demonstrations) == 2
    assert not prompt.persona.claims


def test_baselines_remember_the_pairs_they_saw_so_that_targets_can_be_refused():
    _, memory = drive(remember("u0", PAIRS, SETTINGS, judge="m"), numbered)
    assert memory.context_hashes == raw_history("u0", PAIRS, SETTINGS).context_hashes == {p.hash for p in PAIRS}


def test_rows_called_target_are_not_shown():
    pairs = (tiny_pair("u0", 0, split="train"), tiny_pair("u0", 1, split="target"))
    assert len(raw_history("u0", pairs, SETTINGS).demonstrations) == 1
