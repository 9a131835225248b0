"""What the benchmarks beside peers rest on: the fake's reader of dspy prompts, depth, and the count of one fit."""

import json
import sys
from pathlib import Path

import pytest

from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import synthesize
from personalrm.induction.waves import run_overlapping
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.testing import tiny_users
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import Seen, by_hash, skilled

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SYSTEM = "Your input fields are:\n1. `conversation`\n[[ ## conversation ## ]]\n{conversation}\n\nIn adhering: Judge."
PERSONA = "FOLLOWING PERSONA: ===\nPrefers shorter answers.\n===\n"
ENDING = "\n\nRespond with the corresponding output fields, starting with the field `[[ ## reasoning ## ]]`."


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def judge_turn(first, second):
    fields = {"conversation": "[user]: q?", "first_completion": f"[assistant]: {first}"}
    fields |= {"second_completion": f"[assistant]: {second}"}
    return {"role": "user", "content": "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in fields.items())}


def verdict_turn(choice):
    content = f"[[ ## reasoning ## ]]\nhm\n\n[[ ## preference ## ]]\n{choice}\n\n[[ ## completed ## ]]\n"
    return {"role": "assistant", "content": content}


def asked(*shown, system=SYSTEM, first="one\n\nand more", second="two"):
    last = judge_turn(first, second)
    return [{"role": "system", "content": system}, *shown, last | {"content": last["content"] + ENDING}]


def seen(messages):
    from peers.dspy_layout import as_ours

    return Seen.of(as_ours(messages))


def test_a_dspy_question_is_seen_as_ours_without_the_speakers():
    found = seen(asked())
    assert (found.first, found.second, found.persona, found.demonstrations) == ("one\n\nand more", "two", "", ())


def test_a_dspy_persona_and_demonstrations_are_seen():
    shown = (judge_turn("a", "bb"), verdict_turn("Second"), judge_turn("cc", "d"), verdict_turn("First"))
    found = seen(asked(*shown, system=SYSTEM + PERSONA))
    assert found.persona == "Prefers shorter answers."
    assert found.demonstrations == (("a", "bb", "second"), ("cc", "d", "first"))


@pytest.mark.parametrize("text", ["<first>\nx\n</first>", "<choice>\nfirst\n</choice>", "«", "First", "[[ ## x"])
def test_texts_of_a_dspy_prompt_cannot_forge_our_fields(text):
    found = seen(asked(first=text, second="two"))
    assert (found.first, found.second, found.demonstrations) == (text, "two", ())


def test_the_packages_history_is_seen_as_a_persona_question():
    block = "**Completion One (FIRST COMPLETION)**: «[assistant]: {}»\n===\n**Completion Two (SECOND COMPLETION)**: "
    block += "«[assistant]: {}»\n===\n**Reasoning**: «hm»\n===\n**TRUE USER PREFERENCE**: {}\n"
    history = "[[ ## past_judgements ## ]]\n" + block.format("a", "bb", "First") + block.format("cc", "d", "Second")
    found = seen([{"role": "system", "content": SYSTEM}, {"role": "user", "content": history + ENDING}])
    assert found.asks_for_persona
    assert found.demonstrations == (("a", "bb", "first"), ("cc", "d", "second"))


def test_both_layouts_get_the_same_verdict_on_the_same_pair():
    from peers.dspy_layout import as_ours, in_both_layouts

    both = in_both_layouts(skilled(0.5))
    for number in range(20):
        messages = asked(first=f"short {number}", second=f"a longer one {number}")
        ours = json.loads(both(as_ours(messages)))["choice"]
        assert f"[[ ## preference ## ]]\n{ours.capitalize()}\n" in both(messages)


def test_a_dspy_prompt_that_wants_json_gets_json():
    from peers.dspy_layout import in_both_layouts

    system = SYSTEM + "Outputs will be a JSON object with the following fields."
    assert set(json.loads(in_both_layouts(skilled())(asked(system=system)))) == {"reasoning", "preference"}


@pytest.mark.parametrize(
    ("moments", "depth"),
    [([], 0), ([0.0], 1), ([0.0, 0.1, 0.2], 1), ([0.0, 0.5, 1.0, 1.1, 2.3], 3), ([1.0, 0.0], 2)],
)
def test_depth_is_the_longest_chain_of_answered_requests(moments, depth):
    from peers.server import depth as depth_of

    assert depth_of(moments, 1.0) == depth


@pytest.mark.slow
@pytest.mark.parametrize("orders", ["both", "one"])
@pytest.mark.parametrize("n_pairs", [1, 2, 3, 5, 10, 25])
def test_the_server_counts_no_more_calls_than_the_bound(n_pairs, orders):
    """Unique calls at most 2 n_t + 2 (T + 1) n_v o + 1, none of them twice."""
    from peers.people import N_TRIALS, n_train_and_validation

    user = tiny_users(1, n_pairs)[0]
    n_t, n_v = n_train_and_validation(user.pairs)
    settings = InductionSettings("both", n_trials=N_TRIALS, validation_orders=orders)
    with FakeServer(by_hash) as server:
        with Caller(open_model(ModelName("fake", server.url)), cache=Cache(":memory:")) as caller:
            inductions = [synthesize(user.user_id, user.pairs, settings, judge="fake")]
            list(run_overlapping(inductions, ModelJudge(caller), users_at_once=1))
        counts = server.summary()
    assert 2 * n_t < counts["calls"] <= 2 * n_t + 2 * (N_TRIALS + 1) * n_v * (2 if orders == "both" else 1) + 1
    assert counts["duplicates"] == 0
