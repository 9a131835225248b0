from __future__ import annotations

import json

from personalrm.induction.fit_job import Todo
from personalrm.induction.model_fit import ModelFit
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.testing import ScriptedLM, tiny_users
from personalrm.testing.skill import Seen, skilled


def test_a_fit_notes_sentences_that_name_what_the_user_did_not_state():
    def rule(messages):
        if Seen.of(messages).asks_for_persona:
            return json.dumps({"claims": [{"text": "Is a devout Catholic.", "supporting": [1], "contradicting": []}]})
        return skilled()(messages)

    settings = InductionSettings(variant="persona", n_trials=2)
    with Caller(ScriptedLM(rule)) as caller:
        fitted = next(ModelFit(ModelJudge(caller), settings).fit_each([Todo(tiny_users(1)[0], None, "", None)]))
    assert fitted.prompt is not None
    assert "sentence 1 names the person's religion, which they did not state" in fitted.prompt.notes
