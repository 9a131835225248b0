"""`fit --model --dry-run` against what the server then counts: an upper bound, and a near one."""

import json

import pytest
from tests.fakes.people import damage, versions

from personalrm.testing import tiny_pair, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.faults import Faults
from personalrm.testing.skill import by_hash, skilled

pytestmark = pytest.mark.slow
TRIALS, ORDERS, N_TRAIN, N_VALIDATION = 5, 2, 7, 3
N_USERS = 2
A_SEARCH = (TRIALS + 1) * N_VALIDATION * ORDERS


def pairs_of(n_users=N_USERS, n_pairs=10):
    return [tiny_pair(f"u{u}", 100 * u + k, likes_long=u % 2 == 0) for u in range(n_users) for k in range(n_pairs)]


@pytest.fixture
def people(tmp_path):
    return write_pairs(tmp_path / "people.jsonl", pairs_of())


@pytest.fixture(params=["by hash", "skilled"])
def server(request):
    with FakeServer({"by hash": by_hash, "skilled": skilled(1.0)}[request.param]) as running:
        yield running


@pytest.fixture
def compare(run, people, server):
    """The forecast of a fit, then the requests the server saw of that very fit."""

    def forecast_and_fit(*arguments):
        flags = ("--model", "fake", "--base-url", server.url, "--trials", TRIALS, *arguments, "--json")
        told = json.loads(run("fit", people, *flags, "--dry-run")[1])
        before = server.log.n_requests
        code, _, err = run("fit", people, *flags)
        assert code in (0, 1, 3), err
        return told, server.log.n_requests - before

    return forecast_and_fit


@pytest.mark.parametrize("variant", ["both", "persona", "demonstrations", "all_pairs"])
def test_a_fresh_fit_asks_at_most_the_forecast_and_nearly_as_much(compare, variant):
    told, n_requests = compare("--variant", variant)
    assert n_requests <= told["n_calls"] <= 1.25 * n_requests
    assert told["n_users"] == N_USERS


def test_the_forecast_of_the_cost_schedule_is_a_bound_too(compare):
    told, n_requests = compare("--schedule", "cost")
    assert n_requests <= told["n_calls"]


def test_a_repeated_fit_is_forecast_at_nothing(compare):
    compare()
    told, n_requests = compare()
    assert (told["n_calls"], told["n_users"], told["prompt_tokens"], n_requests) == (0, 0, 0, 0)


def test_answers_that_are_kept_are_counted_off_when_the_prompts_are_gone(compare, tmp_path):
    compare()
    (tmp_path / "personalrm-home" / "people.db").unlink()
    told, n_requests = compare()
    assert (told["n_users"], told["n_calls"], n_requests) == (N_USERS, 0, 0)


@pytest.mark.parametrize("n_calls", [3, 30, 80])
def test_what_a_stopped_fit_has_paid_is_counted_off(compare, n_calls):
    whole, n_requests = compare("--max-calls", n_calls)
    told, rest = compare()
    assert n_requests == n_calls
    assert rest <= told["n_calls"] <= whole["n_calls"] - n_calls / 4


def test_one_more_train_pair_is_forecast_by_what_it_changes(compare, people):
    """At most 1 + (T+1) n_v o calls, a persona, and n_t + (T+1) n_v o."""
    compare()
    write_pairs(people, [*pairs_of(), tiny_pair("u1", 199, split="train")])
    told, n_requests = compare()
    assert n_requests <= told["n_calls"] <= 1.8 * n_requests
    assert told["n_calls"] <= 1 + A_SEARCH + 1 + (N_TRAIN + 1) + A_SEARCH
    assert told["n_calls_same_personas"] <= 1 + A_SEARCH + 1 + 1 + A_SEARCH
    assert told["n_calls"] - told["n_calls_same_personas"] >= N_TRAIN


def test_one_more_validation_pair_is_forecast_by_what_it_changes(compare, people):
    """The first search is known but for the new pair."""
    compare()
    write_pairs(people, [*pairs_of(), tiny_pair("u1", 199, split="validation")])
    told, n_requests = compare()
    assert n_requests <= told["n_calls"]
    assert n_requests <= told["n_calls_same_personas"] <= n_requests + 1  # the persona stays, its own call is kept
    assert told["n_calls"] <= (TRIALS + 1) * ORDERS + 1 + N_TRAIN + (TRIALS + 1) * (N_VALIDATION + 1) * ORDERS


def test_the_forecast_names_both_counts_in_a_sentence(run, people, compare, server):
    compare()
    write_pairs(people, [*pairs_of(), tiny_pair("u1", 199, split="train")])
    _, out, _ = run("fit", people, "--model", "fake", "--base-url", server.url, "--trials", TRIALS, "--dry-run")
    assert ("would fit 1 user: at most" in out, "where personas stay as they are" in out) == (True, True)


def test_requests_without_an_answer_are_asked_again_only_when_wished(compare, server):
    server._faults = Faults((), too_long=lambda prompt: "day 107?" in prompt)
    compare()
    server._faults = Faults(())
    assert compare()[0]["n_calls"] == 0
    told, n_requests = compare("--retry-unscored")
    assert 0 < n_requests <= told["n_calls"]


def test_a_dry_run_asks_and_changes_nothing(run, people, server, tmp_path):
    flags = ("--model", "fake", "--base-url", server.url, "--trials", TRIALS)
    assert run("fit", people, *flags, "--dry-run")[0] == 0
    assert (server.log.n_requests, (tmp_path / "personalrm-home").exists()) == (0, False)


def test_a_dry_run_leaves_damaged_files_where_they_are_and_says_so(run, people, compare, server, tmp_path):
    compare()
    home = tmp_path / "personalrm-home"
    damage(home, min(user for user, _ in versions(home)))
    before = (home / "people.db").read_bytes()
    (tmp_path / "personalrm-home" / "cache.sqlite").write_bytes(b"no database" * 99)
    flags = ("--model", "fake", "--base-url", server.url, "--trials", TRIALS)
    code, out, err = run("fit", people, *flags, "--dry-run")
    assert (code, "would fit 1 user" in out, "cannot be used" in err) == (0, True, True)
    assert (home / "people.db").read_bytes() == before
    assert list(tmp_path.glob("personalrm-home/cache.sqlite.damaged*")) == []


def test_pairs_that_are_all_for_validation_are_forecast_too(compare, people):
    write_pairs(people, [tiny_pair("u", k, split="validation") for k in range(4)])
    told, n_requests = compare("--variant", "both")
    assert 0 < n_requests <= told["n_calls"]
