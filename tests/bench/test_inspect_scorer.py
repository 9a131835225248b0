"""The scorer inside a real evaluation of inspect_ai, with its mock model; no network."""

import math

import pytest

from personalrm.bench.inspect_scorer import personal_scorer
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.preferences.people import example_users
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.testing import LONG, SHORT, ScriptedLM
from personalrm.testing.skill import failing, skilled

inspect_ai = pytest.importorskip("inspect_ai", reason="the extra inspect is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # of inspect_ai's own dependencies
PROMPTS = {
    user_id: PersonalPrompt(user_id, Persona((Claim(f"Prefers {taste} answers."),)))
    for user_id, taste in (("hurried", "shorter"), ("patient", "longer"))
}


def evaluate(tmp_path, prompts, judge, users, *, answer=SHORT, reference=LONG):
    """The log of an evaluation whose model always answers briefly and whose reference is long."""
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    samples = [Sample(input="The way?", target=reference, metadata={"user_id": user}) for user in users]
    output = ModelOutput.from_content("mockllm", answer)
    output.usage = ModelUsage()  # otherwise tokens are counted with a table from the network
    model = get_model("mockllm/model", custom_outputs=[output] * len(users))
    task = Task(dataset=samples, scorer=personal_scorer(prompts, judge))
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success"
    return log


def values(log):
    return [next(iter(sample.scores.values())).value for sample in log.samples]


def test_each_user_is_judged_by_their_own_prompt(tmp_path):
    with Caller(ScriptedLM(skilled(1.0))) as caller:
        log = evaluate(tmp_path, PROMPTS, ModelJudge(caller), ["hurried", "patient", "hurried"])
    assert values(log) == [1.0, 0.0, 1.0]
    assert log.results.scores[0].metrics["mean"].value == pytest.approx(2 / 3)


def test_what_cannot_be_judged_is_unscored_and_left_out_of_the_mean(tmp_path):
    with Caller(ScriptedLM(failing)) as caller:
        log = evaluate(tmp_path, PROMPTS, ModelJudge(caller), ["hurried", "stranger"])
    assert all(math.isnan(value) for value in values(log))
    reasons = [next(iter(sample.scores.values())).reason for sample in log.samples]
    assert all(reasons) and "no personal prompt of user 'stranger'" in reasons


@pytest.mark.parametrize("blank", ["", " \n\t"])
@pytest.mark.parametrize("what", ["answer", "reference"])
def test_what_is_blank_is_unscored(tmp_path, what, blank):
    with Caller(ScriptedLM(skilled(1.0))) as caller:
        log = evaluate(tmp_path, PROMPTS, ModelJudge(caller), ["hurried"], **{what: blank})
    assert math.isnan(values(log)[0])
    assert next(iter(log.samples[0].scores.values())).reason == f"the {what} is blank"


def test_the_embedded_engine_needs_no_judge(tmp_path):
    users = example_users()
    prompts = {prompt.user_id: prompt for prompt in EmbeddedFit.learned_from(users).fit(users)}
    assert values(evaluate(tmp_path, prompts, None, ["henrik"])) in ([0.0], [1.0])
