"""What a newcomer stumbles over: settings nobody reads, servers that are not there, places, reports of others."""

import json

import pytest

from personalrm.errors import ModelUnavailable
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Fault, Request, Sampling
from personalrm.lm.settings import Retry
from personalrm.preferences.messages import Message
from personalrm.testing import ScriptedLM
from personalrm.testing.fake_server import FakeServer


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("PERSONALRM_HOM", "PERSONALRM_HOM (did you mean PERSONALRM_HOME?) is not a setting"),
        ("PERSONALRM_BASEURL", "did you mean PERSONALRM_BASE_URL?"),
        ("PERSONALRM_seed", "did you mean PERSONALRM_SEED?"),
        ("PERSONALRM_APIKEY", "did you mean PERSONALRM_API_KEY?"),
        ("PERSONALRM_", "PERSONALRM_ is not a setting"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_once(fitted, monkeypatch, variable, told):
    monkeypatch.setenv(variable, "a-secret")
    code, out, err = fitted("users", "--json")
    assert (code, err.count("warning: "), told in err) == (0, 1, True)
    assert len(json.loads(out)) == 8
    assert "a-secret" not in err


def test_several_wrong_variables_are_one_warning(fitted, monkeypatch):
    monkeypatch.setenv("PERSONALRM_HOM", "x")
    monkeypatch.setenv("PERSONALRM_TRAILS", "3")
    err = fitted("users")[2]
    assert len(err.splitlines()) == 1
    assert "are not settings" in err


def test_settings_and_other_variables_are_not_warned_of(fitted, monkeypatch):
    for name in ("PERSONALRM_API_KEY", "PERSONALRM_DATA", "PERSONALRM_MAX_COST", "PERSONALRMX", "HOME_PERSONALRM_X"):
        monkeypatch.setenv(name, "1")
    assert fitted("users")[2] == ""


def test_a_check_does_not_wait_for_a_server_that_refuses_connections():
    lm = ScriptedLM(lambda messages: "", faults=lambda request, earlier: Fault("cannot connect", "same"))
    asked = Request((Message("user", "hello"),), Sampling(), stage="check", user_id="")
    with Caller(lm, retry=Retry(base_s=30.0, waits_for_server=False)) as caller:
        caller.ask_all([Ask(lambda: asked, lambda reply: reply.text)])
        assert isinstance(caller.stopped, ModelUnavailable)
        assert "after 1 attempt;" in str(caller.stopped)


def test_check_says_that_nobody_listens(run):
    code, _, err = run("check", "--model", "fake", "--base-url", "http://127.0.0.1:9/v1", "--retry-pause", "30")
    assert (code, "cannot be reached after 1 attempt; start it or correct --base-url" in err) == (1, True)


def test_a_base_url_without_its_path_is_answered_with_the_one_to_try(run):
    with FakeServer() as server:
        url = server.url.removesuffix("/v1")
        code, _, err = run("check", "--model", "fake", "--base-url", f"{url}/")
    assert (code, f"base URLs mostly end in /v1, try {url}/v1" in err) == (1, True)


def test_an_unknown_path_gets_no_such_hint(run):
    with FakeServer() as server:
        code, _, err = run("check", "--model", "fake", "--base-url", f"{server.url}/more")
    assert (code, "/v1" in err, "check the base URL and the model's name" in err) == (1, False, True)


@pytest.fixture
def drafts(tmp_path):
    path = tmp_path / "drafts.jsonl"
    texts = ["Yes.", "It might perhaps be so, though one could also say that it is not, all things considered.", "No."]
    path.write_text(json.dumps({"user_id": "u1", "prompt": "Is it so?", "completions": texts}) + "\n")
    return path


def test_rank_counts_places_from_one_for_people_and_from_zero_for_machines(fitted, drafts):
    order = json.loads(fitted("rank", drafts, "--json")[1])["order"]
    head, *lines = fitted("rank", drafts)[1].splitlines()
    assert head == "1  u1  best first"
    assert [int(line.split()[0]) - 1 for line in lines] == order


def test_rank_shows_how_completions_begin_on_a_terminal_only(fitted, drafts, monkeypatch):
    assert "It might" not in fitted("rank", drafts)[1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    out, err = fitted("rank", drafts)[1:]
    assert "It might perhaps be so" in out
    assert all(len(line) < 96 for line in out.splitlines())
    assert err == ""


@pytest.mark.parametrize("name", ["report.html", "report.md", "summary.json"])
@pytest.mark.parametrize("content", ["<html>mine</html>", ""])
def test_a_report_of_somebody_else_is_not_replaced(run, tmp_path, name, content):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / name).write_text(content)
    code, _, err = run("bench", "report", "a-run", "--output", folder)
    assert (code, f"{name}' was not written by bench report" in err) == (2, True)
    assert (folder / name).read_text() == content


def test_a_folder_in_place_of_a_report_is_refused_too(run, tmp_path):
    (tmp_path / "site" / "report.html").mkdir(parents=True)
    assert run("bench", "report", "a-run", "--output", tmp_path / "site")[0] == 2


def test_a_help_page_has_the_commands_own_options_first_and_those_of_a_model_last(run):
    page = run("fit", "--help")[1]
    titles = ["options:", "reading the file:", "how to learn:", "home folder, settings and output:",
              "with a language model:", "how the model is asked:"]  # fmt: skip
    places = [page.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    assert page.index("--dry-run") < places[1]
    assert page.startswith("usage: personalrm fit [options] file\n")


def test_a_short_usage_names_what_is_required(run):
    assert run("score", "--help")[1].startswith("usage: personalrm score [options] --model-folder DIR [file]\n")


def test_tables_of_somebody_else_are_not_replaced(run, tmp_path):
    from tests.bench.runs.simulated_run import simulated_run

    simulated_run(tmp_path / "a-run")
    (tmp_path / "site" / "tables").mkdir(parents=True)
    (tmp_path / "site" / "tables" / "accuracy.csv").write_text("mine")
    code, _, err = run("bench", "report", "a-run", "--output", tmp_path / "site")
    assert (code, "tables' was not written by bench report" in err) == (2, True)
    assert (tmp_path / "site" / "tables" / "accuracy.csv").read_text() == "mine"


def test_a_report_of_another_run_is_not_replaced(run, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "summary.json").write_text('{"format_version": 1, "run": {"name": "another"}}')
    from tests.bench.runs.simulated_run import simulated_run

    simulated_run(tmp_path / "a-run")
    code, _, err = run("bench", "report", "a-run", "--output", tmp_path / "site")
    assert (code, "holds the report of 'another'" in err) == (2, True)
