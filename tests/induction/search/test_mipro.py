"""DSPy's MIPROv2 itself, over our caller, with our metric; runs where the extra is installed (make optimize-extra)."""

import hashlib
import json
import warnings
from importlib.util import find_spec

import pytest
from tests.fakes.dspy_layout import in_dspy_layout

from personalrm.errors import BadInput, BudgetSpent, PersonalRMError
from personalrm.induction.search.mipro import optimize_with_mipro
from personalrm.induction.search.people import People, divide
from personalrm.induction.search.settings import SearchSettings
from personalrm.judging.model import ModelJudge
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.settings import Budget
from personalrm.preferences.persona_prompts import PersonaPrompt, persona_prompt_from_json, persona_prompt_to_dspy
from personalrm.testing import LONG, ScriptedLM, tiny_users
from personalrm.testing.coaching import coached

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("dspy") is None or find_spec("optuna") is None, reason="DSPy is not installed (extra optimize)"
    ),
]
PLANTED = "Describe what they LIKE."
SMALL = SearchSettings(n_instructions=4, n_example_sets=4, n_trials=6, user_trials=1, max_examples=2)


@pytest.fixture(autouse=True)
def no_warnings_of_dspy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def say(name, prompt):
    """Proposals by a hash, one in five the planted one; personas that are right about 95 % with it, else 45 %."""
    drawn = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
    if name == "proposed_instruction":
        return [PLANTED, "Describe.", "Say it.", "Tell us.", "Be kind."][drawn % 5]
    if name == "synthesized_persona":
        own = prompt.rpartition("[[ ## past_judgements ## ]]")[2]
        longer = f"Chose: {LONG[:60]}" in own
        right = drawn % 100 < (95 if "LIKE" in prompt else 45)
        return f"Prefers {'longer' if longer == right else 'shorter'} answers."
    return "words"


def found(lm, settings=SMALL, cache=":memory:", **more):
    users = tiny_users(24, 8)
    with Caller(lm, cache=Cache(cache), **more) as caller:
        judge = ModelJudge(caller, JudgeOptions(logprobs=False), PersonaPrompt("Describe them."))
        people = divide(users[:12], users[12:], max_train_users=20, seed=0)
        return optimize_with_mipro(people, judge, settings)


@pytest.mark.parametrize("n_train", [0, 1])
def test_too_few_people_are_a_sentence_before_anything_is_asked(n_train):
    users, lm = tiny_users(2, 8), scripted()
    people = (
        divide(users[:n_train], users[n_train : 2 * n_train], max_train_users=20, seed=0)
        if n_train
        else People((), (), 0)
    )
    with Caller(lm) as caller:
        judge = ModelJudge(caller, JudgeOptions(logprobs=False), PersonaPrompt("Describe them."))
        if n_train:
            assert optimize_with_mipro(people, judge, SMALL).n_dev_users == 1
            return
        with pytest.raises(BadInput, match="MIPROv2 needs at least one train user"):
            optimize_with_mipro(people, judge, SMALL)
    assert lm.requests == []


@pytest.mark.parametrize("reply", ["", "nonsense", "[[ ## other ## ]]\nx", "{}", "null"])
def test_proposals_that_dspy_cannot_read_are_a_sentence(reply):
    def rule(messages):
        return reply if "[[ ##" in str(messages) else coached({}, 0.45)(messages)

    with pytest.raises(PersonalRMError) as error:
        found(ScriptedLM(rule))
    assert str(error.value).count("\n") == 0


def scripted():
    return ScriptedLM(in_dspy_layout(coached({}, 0.45), say))


def test_a_better_prompt_is_found_and_its_examples_are_people_whose_persona_gained(tmp_path):
    lm = scripted()
    optimized = found(lm, cache=tmp_path / "c")
    assert optimized.prompt.instruction == PLANTED
    assert optimized.score > optimized.start_score
    assert all(example.pairs and example.persona.startswith("Prefers") for example in optimized.prompt.examples)
    assert {request.stage for request in lm.requests} == {"judge", "dspy"}
    assert optimized.prompt.provenance["settings"]["max_labeled_demos"] == 6


def test_a_killed_run_ends_the_same_and_pays_nothing_twice(tmp_path):
    whole, parts = scripted(), [scripted(), scripted()]
    expected = found(whole)
    with pytest.raises(BudgetSpent):
        found(parts[0], cache=tmp_path / "c", budget=Budget(max_calls=60))
    assert found(parts[1], cache=tmp_path / "c").prompt == expected.prompt
    keys = [(request.messages, request.sampling) for lm in parts for request in lm.requests]
    assert len(keys) == len(set(keys))


def test_nothing_of_anybody_is_printed(capfd, caplog):
    found(scripted())
    printed = capfd.readouterr()
    assert LONG[:40] not in printed.out + printed.err + caplog.text


def test_the_program_we_export_is_loaded_by_dspy_and_what_dspy_saves_is_read(tmp_path):
    import dspy

    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.synthesize = dspy.ChainOfThought("past_judgements -> synthesized_persona")

    prompt = found(scripted()).prompt
    (tmp_path / "ours.json").write_text(persona_prompt_to_dspy(prompt))
    program = Program()
    program.load(tmp_path / "ours.json")
    assert program.synthesize.predict.signature.instructions == prompt.instruction
    program.save(tmp_path / "theirs.json")
    read = persona_prompt_from_json((tmp_path / "theirs.json").read_text(), where="theirs")
    assert (read.instruction, [example.persona for example in read.examples]) == (
        prompt.instruction, [example.persona for example in prompt.examples])  # fmt: skip
    assert json.loads(persona_prompt_to_dspy(prompt))["synthesize.predict"]["lm"] is None
