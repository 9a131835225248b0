"""What can go wrong between us and a model server, at the command line: a dozen users of 10 pairs, the server in its own process.

The server's answer is a hash of the request without its seed, so that a mixed-up reply changes what is saved. One server
has all faults in turn: its address is part of what a fit depends on, so every byte can be compared.
"""

import json
from dataclasses import dataclass

import pytest
from tests.fakes.command import output_of
from tests.fakes.people import saved
from tests.fakes.server_process import ServerProcess

from personalrm.preferences.users import User
from personalrm.testing import tiny_pair, write_pairs
from personalrm.testing.faults import TRANSIENT

pytestmark = pytest.mark.slow
QUICK = ("--retry-pause", "0.01")
N_USERS = 12
MOST_A_CALL = 1.35
SLOW = ("never answered", "byte a second", "huge chunked", "gzip bomb")
"""Kinds that take time or memory; alone under `endure`."""
ENDLESS = ("never answered", "byte a second")
"""Kinds that only a short time-out ends: shorter than the server's patience, yet long enough for good answers on a busy
machine. The other kinds have the default time-out."""


@dataclass
class Faultless:
    """What a fit and an evaluation without faults leave behind."""

    saved: dict
    export: str
    evaluation: str
    n_calls: int
    n_calls_of_evaluation: int


def everybody(n_users=N_USERS, n_pairs=10):
    return [
        User(f"u{u:02}", tuple(tiny_pair(f"u{u:02}", 100 * u + k, likes_long=u % 2 == 0) for k in range(n_pairs)))
        for u in range(n_users)
    ]


def at(server, home, *arguments):
    return (*arguments, "--model", "fake", "--base-url", server.url, "--home", home, "--trials", "3", *QUICK)


@pytest.fixture(scope="module")
def server():
    with ServerProcess("--patience-ms", "50") as running:
        yield running


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.jsonl"
    return write_pairs(path, [pair for user in everybody() for pair in user])


@pytest.fixture(scope="module")
def faultless(server, people, tmp_path_factory):
    home = tmp_path_factory.mktemp("faultless")
    server.misbehave()
    output_of(*at(server, home, "fit", people))
    n_calls = server.summary()["calls"]
    server.reset()
    evaluation = output_of(*at(server, home / "evaluated", "evaluate", people, "--json"))
    return Faultless(saved(home), output_of("export", "--home", home), evaluation, n_calls, server.summary()["calls"])


@pytest.fixture
def fit(run, server, people, tmp_path):
    """Fits everybody against a server with faults; gives back exit code, report, stderr and the server's counts."""

    def run_fit(*arguments, **faults):
        server.misbehave(**faults)
        code, out, err = run(*at(server, tmp_path / "home", "fit", people, "--json", *arguments))
        return code, json.loads(out), err, server.summary()

    return run_fit


def timeout_of(kinds):
    return ("--timeout", "4") if set(kinds) & set(ENDLESS) else ()


def same_bytes_and_few_requests(fit, faultless, home, **faults):
    code, _, err, counts = fit(*timeout_of(faults.get("kinds", ())), **faults)
    assert (code, saved(home) == faultless.saved) == (0, True), err
    assert counts["calls"] == faultless.n_calls
    assert counts["requests"] <= MOST_A_CALL * counts["calls"]
    return counts


def test_all_transient_faults_together_change_no_byte(fit, faultless, run, tmp_path):
    kinds = [kind for kind in TRANSIENT if kind not in SLOW]
    counts = same_bytes_and_few_requests(fit, faultless, tmp_path / "home", kinds=kinds)
    assert set(counts["statuses"]) == set(kinds)
    assert run("export", "--home", tmp_path / "home")[1] == faultless.export


@pytest.mark.endure
@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_transient_fault_changes_no_byte_of_a_fit(fit, faultless, tmp_path, kind):
    counts = same_bytes_and_few_requests(fit, faultless, tmp_path / "home", kinds=[kind])
    assert counts["requests"] >= 1.15 * counts["calls"]


@pytest.mark.endure
@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_transient_fault_changes_nothing_of_an_evaluation(run, server, people, faultless, tmp_path, kind):
    server.misbehave(kinds=[kind])
    code, out, err = run(*at(server, tmp_path / "home", "evaluate", people, "--json", *timeout_of([kind])))
    assert (code, out) == (0, faultless.evaluation), err
    assert server.summary()["requests"] <= MOST_A_CALL * faultless.n_calls_of_evaluation


def test_all_transient_faults_together_change_nothing_of_an_evaluation(run, server, people, faultless, tmp_path):
    server.misbehave(kinds=[kind for kind in TRANSIENT if kind not in SLOW])
    code, out, err = run(*at(server, tmp_path / "home", "evaluate", people, "--json"))
    assert (code, out) == (0, faultless.evaluation), err
    assert server.summary()["requests"] <= MOST_A_CALL * faultless.n_calls_of_evaluation


def test_connections_refused_for_a_while_change_no_byte(fit, faultless, tmp_path):
    counts = same_bytes_and_few_requests(fit, faultless, tmp_path / "home", away_after=N_USERS * 20, away_s=0.1)
    assert counts["requests"] > counts["calls"]


def test_a_slow_tail_changes_no_byte_and_costs_no_request(fit, faultless, tmp_path):
    counts = same_bytes_and_few_requests(fit, faultless, tmp_path / "home", slow_tail_s=0.4)
    assert counts["duplicates"] == 0


def test_a_model_that_changes_its_name_changes_no_byte_and_is_told(fit, faultless, tmp_path):
    code, report, err, counts = fit(renamed_after=N_USERS * 30)
    assert (code, saved(tmp_path / "home") == faultless.saved, counts["duplicates"]) == (0, True, 0)
    assert (set(report["served_by"]), "several model names" in err) == ({"fake", "fake-0101"}, True)
    assert sum(report["served_by"].values()) == counts["requests"]


def test_a_wrong_but_readable_label_is_consumed_as_valid(fit, faultless, tmp_path):
    code, report, _, counts = fit(wrong_label_rate=0.2)
    assert (code, report["n_fitted"], report["partial"], counts["duplicates"]) == (0, N_USERS, {}, 0)
    assert saved(tmp_path / "home") != faultless.saved


@pytest.mark.parametrize("what", ["hopeless", "too_long"])
def test_a_permanent_fault_makes_exactly_the_users_hit_partial(fit, faultless, tmp_path, what):
    code, report, _, counts = fit("--attempts", "2", **{what: "on day 307?"})
    missing = {**report["partial"], **report["failed"]}
    assert (code, set(missing)) == (3, {"u03"})
    others = {name: content for name, content in faultless.saved.items() if name[0] != "u03"}
    assert saved(tmp_path / "home").items() >= others.items()
    assert counts["most_of_a_call"] == {"hopeless": 2, "too_long": 1}[what]


@pytest.mark.parametrize("what", ["hopeless", "too_long"])
def test_an_evaluation_names_the_users_a_permanent_fault_hit(run, server, people, faultless, tmp_path, what):
    server.misbehave(**{what: "on day 301?"})
    code, out, _ = run(*at(server, tmp_path / "home", "evaluate", people, "--json", "--attempts", "2"))
    rows, before = json.loads(out)["rows"], json.loads(faultless.evaluation)["rows"]
    assert code == 3
    assert rows["default"]["accuracy"]["n_pairs"] == before["default"]["accuracy"]["n_pairs"]
    assert set(json.loads(out)["not_learned"]) == {"u03"}


def test_a_key_refused_in_mid_run_stops_at_once_and_keeps_who_was_finished(fit, faultless, tmp_path):
    code, report, err, counts = fit("--max-in-flight", "4", no_access_after=N_USERS * 30)
    finished = saved(tmp_path / "home")
    assert (code, "check the key" in err) == (3, True)
    assert counts["last_s"] - counts["refused_s"] <= 1.0
    assert 0 < len({user_id for user_id, _ in finished}) == report["n_fitted"] < N_USERS
    assert finished.items() <= faultless.saved.items()
    assert len(report["failed"]) == N_USERS - report["n_fitted"]
    assert set(report["failed"].values()) == {"not done, the run was stopped"}


def test_after_a_refused_key_the_same_command_asks_only_what_is_missing(fit, faultless, tmp_path):
    first = fit("--max-in-flight", "4", no_access_after=N_USERS * 30)[3]
    code, _, _, counts = fit()
    assert (code, saved(tmp_path / "home")) == (0, faultless.saved)
    assert counts["requests"] == faultless.n_calls - first["answered"]


def test_a_key_refused_during_an_evaluation_is_one_sentence_and_what_was_answered_is_kept(
    run, server, people, faultless, tmp_path
):
    server.misbehave(no_access_after=N_USERS * 15)
    code, out, err = run(*at(server, tmp_path / "home", "evaluate", people, "--json"))
    assert (code, out, "check the key" in err) == (1, "", True)
    answered = server.summary()["answered"]
    server.misbehave()
    assert run(*at(server, tmp_path / "home", "evaluate", people, "--json"))[1] == faultless.evaluation
    assert server.summary()["requests"] == faultless.n_calls_of_evaluation - answered


def test_a_server_that_is_gone_for_good_ends_the_run_and_nothing_is_lost(fit, faultless, tmp_path):
    few = ("--max-in-flight", "4", "--attempts", "3")
    code, report, err, _ = fit(*few, away_after=N_USERS * 30, away_s=1.5)
    assert (code, "cannot be reached" in err, report["partial"]) == (3, True, {})
    assert set(report["failed"].values()) == {"not done, the run was stopped"}
    assert saved(tmp_path / "home").items() <= faultless.saved.items()
    assert fit(*few)[0] == 0
    assert saved(tmp_path / "home") == faultless.saved
