"""Commands with a language model, against the fake server: faults, stops, resumption, the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.fakes.command import output_of
from tests.fakes.people import versions as saved

from personalrm.lm.cache import Cache
from personalrm.testing import tiny_pair, tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.faults import TRANSIENT, Faults
from personalrm.testing.skill import skilled

pytestmark = pytest.mark.slow
QUICK = ("--timeout", "0.5", "--retry-pause", "0.005", "--attempts", "8")
EVERYBODY = [pair for user in tiny_users(3, 8) for pair in user]


@pytest.fixture
def people(tmp_path):
    return write_pairs(tmp_path / "people.jsonl", EVERYBODY)


@pytest.fixture
def fit(run, people, tmp_path):
    """Fits the people against a server into a named home; gives back exit code, stdout, stderr and what was saved."""

    def run_fit(server, *arguments, home="home"):
        # the server's name is part of the cache's key and of nothing that is saved
        code, out, err = run("fit", people, "--model", "fake", "--base-url", server.url, "--home", tmp_path / home,
                             "--trials", "3", *QUICK, *arguments)  # fmt: skip
        return code, out, err, saved(tmp_path / home)

    return run_fit


def contents(prompts):
    """Saved prompts but for the fingerprint, which covers the server's address."""
    texts = prompts.values()
    return [{**text, "settings": {k: v for k, v in text["settings"].items() if k != "fingerprint"}} for text in texts]


@pytest.fixture(scope="module")
def faultless(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faultless")
    people, home = write_pairs(folder / "people.jsonl", EVERYBODY), folder / "home"
    with FakeServer() as server:
        output_of("fit", people, "--model", "fake", "--base-url", server.url, "--home", home, "--trials", "3")
        return contents(saved(home)), server.log


@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_transient_fault_changes_nothing_that_is_saved(fit, faultless, kind):
    with FakeServer(faults=Faults((kind,), 0.2), patience_s=0.01) as server:
        code, _, err, prompts = fit(server)
        assert contents(prompts) == faultless[0], err
        assert code == 0


def test_all_faults_together_cost_at_most_a_third_more_requests(fit, faultless):
    kinds = tuple(
        kind for kind in TRANSIENT if kind not in ("huge chunked", "gzip bomb", "never answered", "byte a second")
    )
    with FakeServer(faults=Faults(kinds, 0.2), patience_s=0.01) as server:
        _, _, _, prompts = fit(server)
        assert contents(prompts) == faultless[0]
        assert server.log.n_requests <= 1.35 * len(faultless[1].calls)


def test_a_prompt_that_always_fails_makes_exactly_its_user_partial(people, fit, faultless):
    odd = [tiny_pair("odd", 50 + k) for k in range(8)]
    write_pairs(people, EVERYBODY + odd)
    with FakeServer(faults=Faults((), hopeless=lambda prompt: "on day 50?" in prompt)) as server:
        code, out, _, prompts = fit(server, "--attempts", "2")
        others = [prompt for prompt in contents(prompts) if prompt["user_id"] != "odd"]
        assert (code, others) == (3, faultless[0])
        assert "  odd  no persona: HTTP 500, after 2 attempts" in out


def test_a_context_that_is_too_long_is_sent_once_and_told(fit):
    with FakeServer(faults=Faults((), too_long=lambda prompt: "day 2?" in prompt)) as server:
        code, out, _, _ = fit(server)
        assert (code, "context too long" in out) == (3, True)
        assert max(server.log.calls.values()) == 1


def test_a_key_refused_in_mid_run_stops_everything_and_the_rest_is_done_later(fit, faultless):
    with FakeServer(faults=Faults((), no_access_after=60)) as server:
        code, out, err, prompts = fit(server, "--max-in-flight", "4")
        assert (code in (1, 3), "check the key" in err, "not done" in out) == (True, True, True)
        assert server.log.n_requests <= 60 + 4
        server._faults = Faults(())
        code, _, _, prompts = fit(server)
        assert (code, contents(prompts)) == (0, faultless[0])
        assert all(times <= 2 for times in server.log.calls.values())


def test_a_second_fit_asks_nothing(fit):
    with FakeServer() as server:
        fit(server)
        n_requests = server.log.n_requests
        code, out, _, _ = fit(server)
        assert (code, "3 unchanged" in out, server.log.n_requests) == (0, True, n_requests)


def test_a_budget_is_kept_and_the_same_command_goes_on(fit, faultless):
    with FakeServer() as server:
        code, _, err, _ = fit(server, "--max-calls", "10", "--timeout", "30")
        assert (code, "10 answers of the model kept" in err) == (1, True)
        assert server.log.n_requests == 10
        code, _, _, prompts = fit(server)
        assert (code, contents(prompts)) == (0, faultless[0])
        assert set(server.log.calls.values()) == {1}


def test_unreadable_replies_are_counted_and_asked_again_on_wish(fit, faultless):
    with FakeServer(faults=Faults((), too_long=lambda prompt: "day 7?" in prompt)) as server:
        assert fit(server)[0] == 3
        server._faults = Faults(())
        assert fit(server)[0] == 3
        code, _, _, prompts = fit(server, "--retry-unscored")
        newest = {user_id: prompt for (user_id, _), prompt in prompts.items()}
        assert (code, contents(newest)) == (0, faultless[0])


def test_both_schedules_find_the_same_winner(fit):
    with FakeServer(skilled(0.7)) as server:
        one, n_one = fit(server, home="latency"), server.log.n_requests
        other = fit(server, "--schedule", "cost", home="cost")
        assert one[3] == other[3]
        assert server.log.n_requests - n_one < n_one


def test_no_identical_request_is_sent_twice(fit):
    with FakeServer(latency_s=0.01) as server:
        fit(server)
        assert set(server.log.calls.values()) == {1}


def test_a_server_without_schema_and_log_probabilities_is_used_without_them(run, fit):
    with FakeServer(skilled(), logprobs=False, takes_schema=False) as server:
        assert fit(server)[0] == 0
        code, out, _ = run("check", "--model", "fake", "--base-url", server.url, "--json")
        found = json.loads(out)
        assert (code, found["takes_schema"], found["gives_logprobs"]) == (0, False, False)


def test_judge_rank_evaluate_and_demo_take_a_model(run, fit, people, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"user_id": "u1", "prompt": "q", "first": "a longer one", "second": "short"}))
    with FakeServer(skilled(1.0)) as server:
        fit(server)
        model = ("--model", "fake", "--base-url", server.url, "--home", tmp_path / "home")
        assert json.loads(run("judge", rows, "--json", *model)[1])["choice"] == "second"
        rows.write_text(json.dumps({"prompt": "q", "completions": ["a longer one", "short", "the longest of them"]}))
        assert json.loads(run("rank", rows, "--user", "u1", "--json", *model)[1])["best"] == 1
        code, out, err = run("evaluate", people, "--min-pairs", "3", "--trials", "2", *model)
        assert (code, "persona_and_demonstrations" in out, "orders agree" in out) == (0, True, True), err
        assert "the model, knowing nobody" in run("demo", "--file", people, "--trials", "2", *model)[1]


def test_erasing_a_user_takes_their_cached_answers_too(run, fit, tmp_path):
    with FakeServer() as server:
        fit(server)
    code, out, _ = run("delete", "u1", "--yes", "--home", tmp_path / "home")
    assert (code, "cached answers" in out) == (0, True)
    cache = Cache(tmp_path / "home" / "cache.sqlite")
    cache.open()
    assert (cache.owns("u0"), cache.owns("u1")) == (True, False)
    cache.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "http://localhost:1/v1"], "needs --model"),
        (["--model", "m", "--base-url", "nonsense"], "base URL 'nonsense'"),
        (["--model", "m", "--base-url", "http://localhost:1", "--key-file", "nowhere"], "key file 'nowhere'"),
        (["--model", "m", "--base-url", "http://localhost:1", "--max-cost", "1"], "price of model 'm' is unknown"),
        (["--model", "m", "--base-url", "http://localhost:1", "--max-cost", "nan"], "must be above 0"),
        (["--model", "m", "--base-url", "http://localhost:1", "--header", "[1]"], "JSON object"),
        (
            ["--model", "m", "--base-url", "http://localhost:1", "--persona-prompt", "nowhere"],
            "persona prompt 'nowhere'",
        ),
        (["--model", "m", "--base-url", "http://localhost:1", "--temperature", "9"], "temperature must lie in"),
    ],
)
def test_wrong_model_flags_are_one_sentence(run, people, arguments, message):
    code, out, err = run("fit", people, *arguments)
    assert (code, out, message in err) == (2, "", True), err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_evaluation_removes_its_folder_and_keeps_the_answers(run, people, tmp_path, number):
    (tmp_path / "temporary").mkdir()
    home = tmp_path / "home"
    with FakeServer(skilled(), latency_s=0.2) as server:
        command = (
            "evaluate",
            people,
            "--model",
            "fake",
            "--base-url",
            server.url,
            "--home",
            home,
            "--max-in-flight",
            "2",
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "personalrm", *map(str, command)],
            env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
            stderr=subprocess.PIPE,
        )
        while server.log.n_answered < 6:
            time.sleep(0.05)
        assert list((tmp_path / "temporary").iterdir()) != []
        process.send_signal(number)
        assert b"stopped; what was finished is saved" in process.communicate(timeout=60)[1]
        assert (process.returncode, list((tmp_path / "temporary").iterdir())) == (3, [])
        server._latency_s = 0.0
        assert run(*command[:-1], "64", "--trials", "1")[0] == 0
        assert max(server.log.calls.values()) <= 2
