"""`ask` with a language model, against the fake server."""

import json

import pytest

from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import always_first, skilled

pytestmark = pytest.mark.slow
LONG = "By train, early, on the left side, with a lot of food and patience. " * 5


def candidates(tmp_path):
    rows = [
        {"prompt": "What is the capital of France?", "first": "Paris.", "second": LONG},
        {"prompt": "How do I get there?", "first": "By train.", "second": "By bus."},
    ]
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(fitted, tmp_path, server, *flags):
    model = ("--model", "fake", "--base-url", server.url)
    return fitted("ask", "u1", "--candidates", candidates(tmp_path), "-n", 2, "--json", *model, *flags)


def test_a_model_that_always_says_first_contradicts_itself_about_everything(fitted, tmp_path):
    with FakeServer(always_first) as server:
        code, out, err = ask(fitted, tmp_path, server)
    assert code == 0, err
    questions = json.loads(out)["questions"]
    assert [(question["bits"], question["probability"]) for question in questions] == [(1.0, 0.5), (1.0, 0.5)]
    assert all("contradicts itself: first in both orders" in question["reason"] for question in questions)


def test_a_request_without_room_for_taste_is_left_out(fitted, tmp_path):
    judge = skilled()

    def rule(messages):
        text = "\n".join(turn["content"] for turn in messages)
        if "disagree" in messages[0]["content"] or '"disagree"' in text:
            answer = "no" if "capital of France" in messages[-1]["content"] else "yes"
            return json.dumps({"reasoning": "", "disagree": answer})
        return judge(messages)

    with FakeServer(rule) as server:
        code, out, err = ask(fitted, tmp_path, server, "--personalizable")
    assert code == 0, err
    content = json.loads(out)
    assert ([question["line"] for question in content["questions"]], content["not_personalizable"]) == ([2], 1)
