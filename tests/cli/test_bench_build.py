"""`personalrm bench build` at the command line, with models behind the fake server."""

import json

import pytest
from benchmarks.simulations.raw_sources import arena_rows, planted_model, write_lines

from personalrm.testing.fake_server import FakeServer

pytestmark = pytest.mark.slow


@pytest.fixture
def raw(tmp_path):
    return write_lines(tmp_path / "arena.jsonl", (row for row, _ in arena_rows(20, 8)))


@pytest.fixture
def server():
    with FakeServer(planted_model) as server:
        yield server


def with_model(server, *more):
    return ("--model", "planted", "--base-url", server.url, "--retry-pause", "0.005", *more)


def test_a_build_prints_its_funnel_and_says_that_the_accuracy_is_a_scripts(run, raw, server):
    code, out, _ = run("bench", "build", raw, "--out", "ds", "--min-pairs", "2", *with_model(server, "--scripted"))
    assert code == 0
    assert "quality/consensus filter" in out and "scripted model, which says nothing of the filter" in out


def test_json_is_the_manifest(run, raw, server, tmp_path):
    code, out, _ = run("bench", "build", raw, "--out", "ds", "--min-pairs", "2", "--json", *with_model(server))
    assert (code, json.loads(out)) == (0, json.loads((tmp_path / "ds" / "manifest.json").read_text()))


def test_a_dry_run_asks_and_writes_nothing(run, raw, server, tmp_path):
    code, out, _ = run("bench", "build", raw, "--out", "ds", "--dry-run", *with_model(server))
    assert (code, server.log.n_requests, (tmp_path / "ds").exists()) == (0, 0, False)
    assert "at most" in out and "price unknown" in out


def test_a_build_asks_no_more_than_the_dry_run_said(run, raw, server):
    _, out, _ = run(
        "bench", "build", raw, "--out", "ds", "--min-pairs", "2", "--dry-run", "--json", *with_model(server)
    )
    most = sum(model["n_calls"] for model in json.loads(out)["models"])
    run("bench", "build", raw, "--out", "ds", "--min-pairs", "2", *with_model(server))
    assert 0 < server.log.n_requests <= most


def test_a_spent_budget_is_partly_done_and_the_same_command_goes_on(run, raw, server):
    arguments = ("bench", "build", raw, "--out", "ds", "--min-pairs", "2", *with_model(server))
    code, _, err = run(*arguments, "--max-calls", "100")
    assert (code, server.log.n_requests) == (3, 100)
    assert "the same command goes on from here" in err
    assert run(*arguments)[0] == 0
    assert server.log.n_requests == len(server.log.calls)


def test_judges_of_a_file_are_asked_each_in_both_orders(run, raw, server, tmp_path):
    entries = "".join(f"  - model: judge{k}\n    base_url: {server.url}\n" for k in range(3))
    (tmp_path / "judges.yaml").write_text(f"judges:\n{entries}")
    arguments = ("bench", "build", raw, "--out", "ds", "--min-pairs", "2", "--judges", "judges.yaml", "--json")
    _, out, _ = run(*arguments, *with_model(server))
    funnel = {row["stage"]: row for row in json.loads(out)["funnel"]}
    n_asked = funnel["user_filter_after_personalizable"]["n_pairs"]
    assert funnel["consensus"]["notes"]["judgements"] == 6 * n_asked


def test_filters_can_be_left_out(run, raw):
    code, out, _ = run("bench", "build", raw, "--out", "ds", "--without", "personalizable,consensus")
    assert code == 0 and "accuracy of the personalizable filter: not measured" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs --model"),
        (("--without", "personalizable"), "needs --judges or --model"),
        (("--without", "all"), "not a filter that can be left out"),
        (("--without", "personalizable,consensus", "--shares", "1,2"), "must add up to 1"),
        (("--shares", "a"), "not a list of numbers"),
        (("--without", "personalizable,consensus", "--max-calls", "3"), "--max-calls needs --model"),
        (("--judges", "nowhere.yaml", "--without", "personalizable"), "cannot be read"),
        (
            ("--without", "personalizable,consensus", "--source-config", "nothing", "--out", "x"),
            "does not hold files of",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(run, raw, arguments, said):
    code, _, err = run("bench", "build", raw.parent if "nothing" in arguments else raw, "--out", "ds", *arguments)
    assert code == 2
    assert said in err


def test_bad_rows_left_out_make_a_build_partly_done(run, raw):
    raw.write_text(raw.read_text() + "{\n")
    arguments = ("bench", "build", raw, "--out", "ds", "--without", "personalizable,consensus")
    assert run(*arguments)[0] == 2
    assert run(*arguments, "--skip-bad")[0] == 3
