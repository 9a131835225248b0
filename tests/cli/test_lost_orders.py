"""`judge` and `rank` ask in both orders; where one has no verdict, the other decides and everybody is told."""

import json

import pytest

from personalrm.testing import LONG, SHORT, tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.faults import Faults
from personalrm.testing.skill import skilled


def shows_the_long_one_first(prompt):
    asked = prompt[prompt.rindex("<first>") :]
    return asked.find("nobody") < asked.find("everybody")


@pytest.fixture
def judged(run, tmp_path):
    """What `judge` prints of two rows of which the first is answered in one order."""
    people = write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(1, 4) for pair in user])
    home = ("--home", str(tmp_path / "home"))
    assert run("fit", people, *home)[0] == 0
    rows = [{"user_id": "u0", "prompt": "Who?", "first": "nobody", "second": "everybody"},
            {"user_id": "u0", "prompt": "Who?", "first": SHORT, "second": LONG}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def judge(*arguments):
        with FakeServer(skilled(1.0), faults=Faults((), too_long=shows_the_long_one_first)) as server:
            at = ("--model", "fake", "--base-url", server.url)
            return run("judge", str(tmp_path / "rows.jsonl"), *home, *at, *arguments)

    return judge


def test_a_lost_order_is_told_and_counted(judged):
    code, out, _ = judged()
    assert code == 3
    assert "in one order only, the other is unscored: context too long" in out.splitlines()[0]
    assert out.splitlines()[-1] == "1 of 2 rows judged in one order only"


def test_a_lost_order_stands_in_the_json(judged):
    rows = [json.loads(line) for line in judged("--json")[1].splitlines()]
    assert ["lost_order" in row for row in rows] == [True, False]


@pytest.fixture
def ranked(run, tmp_path):
    """What `rank` prints of two rows with a completion that the server finds too long in some places."""
    people = write_pairs(tmp_path / "people.jsonl", [pair for user in tiny_users(1, 4) for pair in user])
    home = ("--home", str(tmp_path / "home"))
    assert run("fit", people, *home)[0] == 0
    rows = [{"user_id": "u0", "prompt": "Who?", "completions": ["nobody", "everybody", "both"]},
            {"user_id": "u0", "prompt": "Who?", "completions": [SHORT, LONG]}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def rank(too_long, *arguments):
        with FakeServer(skilled(1.0), faults=Faults((), too_long=too_long)) as server:
            at = ("--model", "fake", "--base-url", server.url)
            return run("rank", str(tmp_path / "rows.jsonl"), *home, *at, *arguments)

    return rank


def test_a_ranking_tells_an_order_that_was_lost(ranked):
    code, out, _ = ranked(shows_the_long_one_first)
    assert code == 3
    # find() gives -1 for "nobody" in the pair of the two others, so neither of its orders is answered.
    heading = "1  u0  best first; of 3 comparisons 1 unscored, counted as ties, 1 in one order only: context too long ("
    assert out.splitlines()[0].startswith(heading)
    assert out.splitlines()[4] == "2  u0  best first"


@pytest.mark.parametrize("tournament", ["round_robin", "knockout"])
def test_a_row_of_which_nothing_was_compared_has_no_order(ranked, tournament):
    code, out, _ = ranked(lambda prompt: "body" in prompt or "both" in prompt, "--json", "--tournament", tournament)
    lost, whole = map(json.loads, out.splitlines())
    assert (code, lost["best"], lost["unscored_reason"][:16]) == (3, None, "context too long")
    assert whole.keys() >= {"order"} and "lost_order" not in whole
