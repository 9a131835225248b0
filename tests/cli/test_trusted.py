"""What a run file or judges file may name: variables, files, and which server gets which key."""

from __future__ import annotations

import json
import os
import threading
from argparse import Namespace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from personalrm.bench.plan.spec import read_run_file
from personalrm.cli.trusted import Trusted, check_run_file
from personalrm.errors import BadInput
from personalrm.testing import tiny_users, write_pairs

RUN = """
name: tiny
datasets: [{name: tiny, path: prefs.jsonl, %(dataset)s}]
methods: [longer, default]
models: [{label: m, name: m, base_url: "%(url)s", %(model)s}]
"""


def trusted(tmp_path, own_urls=(), **flags):
    given = {"allow_path": None, "allow_variable": None, "data": None, "base_url": None} | flags
    return Trusted.of(tmp_path / "run.yaml", Namespace(**given), own_urls)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PERSONALRM_") or name == "OPENAI_API_KEY"]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "HOME", "OPENAI_API_KEY", "personalrm_key", "XPERSONALRM_KEY", ""]
)
def test_a_file_names_no_variable_but_ours(tmp_path, monkeypatch, name):
    if name:
        monkeypatch.setenv(name, "sesame")
    with pytest.raises(BadInput, match="begin with PERSONALRM_, such as PERSONALRM_KEY_MINE") as error:
        trusted(tmp_path).key_of(name, "http://127.0.0.1:1/v1", "model 'm'")
    assert "sesame" not in str(error.value)


def test_a_variable_is_allowed_by_a_flag(tmp_path, monkeypatch):
    monkeypatch.setenv("TEAM_KEY", "sesame")
    assert trusted(tmp_path, allow_variable=["TEAM_KEY"]).key_of("TEAM_KEY", "http://a/v1", "m") == "sesame"
    assert trusted(tmp_path, allow_variable="TEAM_KEY").key_of("TEAM_KEY", "http://a/v1", "m") == "sesame"


def test_a_key_of_ours_goes_where_the_file_says_unless_it_is_bound_to_a_host(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONALRM_KEY_A", "sesame")
    assert trusted(tmp_path).key_of("PERSONALRM_KEY_A", "https://a.example/v1", "m") == "sesame"
    monkeypatch.setenv("PERSONALRM_KEY_A_HOST", "A.example")
    assert trusted(tmp_path).key_of("PERSONALRM_KEY_A", "https://a.example:8443/v1", "m") == "sesame"
    with pytest.raises(BadInput, match=r"was given for 'A\.example'"):
        trusted(tmp_path).key_of("PERSONALRM_KEY_A", "https://evil.example/a.example", "m")


def test_the_general_key_goes_to_the_server_that_the_user_names_and_to_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONALRM_API_KEY", "sesame")
    assert trusted(tmp_path).key_of(None, "http://127.0.0.1:1/v1", "m") == ""
    assert trusted(tmp_path, ["http://127.0.0.1:1/v1"]).key_of(None, "http://127.0.0.1:1", "m") == "sesame"
    monkeypatch.setenv("PERSONALRM_BASE_URL", "http://127.0.0.1:1/v1")
    assert trusted(tmp_path).key_of(None, "http://127.0.0.1:1/v1", "m") == "sesame"
    for other in (
        "http://127.0.0.1:2/v1",
        "http://127.0.0.1:1@evil.example/v1",
        "http://[::1/v1",
        "http://evil.example:1",
    ):
        assert trusted(tmp_path).key_of(None, other, "m") == ""
    with pytest.raises(BadInput, match="set PERSONALRM_KEY_MINE"):
        trusted(tmp_path).key_of("PERSONALRM_API_KEY", "http://127.0.0.1:2/v1", "m")
    # nor to OpenAI, which has a variable of its own
    monkeypatch.setenv("OPENAI_API_KEY", "openais")
    assert trusted(tmp_path).key_of(None, None, "m") == "openais"


def test_a_run_file_names_files_beside_it_in_the_data_or_allowed(run, tmp_path, monkeypatch):
    beside, outside = tmp_path / "runs", tmp_path / "outside"
    beside.mkdir()
    outside.mkdir()
    pairs = [pair for user in tiny_users(4) for pair in user]
    write_pairs(beside / "prefs.jsonl", pairs)
    write_pairs(outside / "prefs.jsonl", pairs)
    (beside / "link.jsonl").symlink_to(outside / "prefs.jsonl")
    file = beside / "run.yaml"

    def validated(path, *more):
        file.write_text(f"name: t\nmethods: [longer]\ndatasets: [{{name: d, path: {path}, min_pairs: 2}}]\n")
        return run("bench", "validate", file, *more)[::2]

    assert validated("prefs.jsonl")[0] == 0
    for path in (outside / "prefs.jsonl", "../outside/prefs.jsonl", "link.jsonl", "/etc/passwd", "/no/where"):
        code, err = validated(path)
        assert (code, "if you trust the file, pass --allow-path" in err, err.count("\n")) == (2, True, 1), path
    assert validated("../outside/prefs.jsonl", "--allow-path", outside)[0] == 0
    assert validated("link.jsonl", "--allow-path", outside / "prefs.jsonl")[0] == 0
    for variable in ("PERSONALRM_DATA", "PERSONALRM_MODELS"):
        monkeypatch.setenv(variable, str(outside))
        code, err = validated(outside / "prefs.jsonl")
        assert (code, "warning" in err) == (0, False)
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    "part",
    [
        "datasets: [{name: d, path: example, surveys: ../secret}]",
        "datasets: [{name: d, path: example, unfiltered: ../secret}]",
        "datasets: [{name: d, path: example}]\nmodels: [{label: m, name: m, persona_prompt: ../secret}]",
        "datasets: [{name: d, path: example}]\nbase_models: [{label: b, name: ../secret}]",
        "datasets: [{name: d, path: example}]\nbase_models: [{label: b, name: hub/name, prompts: /etc/passwd}]",
        "datasets: [{name: d, path: example}]\nencoders: [{label: e, name: /etc}]",
        'datasets: [{name: d, path: "a\\0b"}]',
    ],
)
def test_every_path_of_a_run_file_is_looked_at(tmp_path, part):
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "run.yaml").write_text(f"name: t\nmethods: [longer]\n{part}\n")
    with pytest.raises(BadInput, match="if you trust the file"):
        check_run_file(read_run_file(folder / "run.yaml"), trusted(folder), None)


def test_names_on_the_hub_and_the_people_that_ship_are_no_paths(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "name: t\nmethods: [longer]\ndatasets: [{name: d, path: example}, {name: e, path: arena-personalized}]\n"
        "base_models: [{label: b, name: meta-llama/Llama-3}]\nencoders: [{label: e, name: stylometric}, {label: f, name: BAAI/bge}]\n"
    )
    check_run_file(read_run_file(tmp_path / "run.yaml"), trusted(tmp_path), None)


class Catcher(BaseHTTPRequestHandler):
    """Refuses every request and remembers the keys it was sent."""

    def do_POST(self):
        self.server.keys.append(self.headers.get("Authorization"))
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error": {"message": "no"}}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def catcher():
    server = HTTPServer(("127.0.0.1", 0), Catcher)
    server.keys, server.url = [], f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_server_of_the_run_file_does_not_get_the_key_of_another(run, prefs, catcher, monkeypatch):
    file = prefs.with_name("run.yaml")

    def keys(model="family: f", *more, **variables):
        catcher.keys.clear()
        file.write_text(RUN % {"dataset": "min_pairs: 2", "url": catcher.url, "model": model})
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            assert run(
                "bench", "run", "-c", file, "--retry-pause", "0.001", "--folder", f"r{len(os.listdir())}", *more
            )[0] in (1, 3)
        return set(catcher.keys)

    assert keys(PERSONALRM_API_KEY="sesame") == {None}
    assert keys(PERSONALRM_API_KEY="sesame", PERSONALRM_BASE_URL="http://127.0.0.1:1/v1") == {None}
    assert keys(PERSONALRM_API_KEY="sesame", PERSONALRM_BASE_URL=catcher.url) == {"Bearer sesame"}
    assert keys("family: f", "--model-url", f"m={catcher.url}", PERSONALRM_API_KEY="sesame") == {"Bearer sesame"}
    assert keys("key_variable: PERSONALRM_KEY_M", PERSONALRM_KEY_M="mine", PERSONALRM_API_KEY="sesame") == {
        "Bearer mine"
    }


@pytest.mark.slow
def test_a_teacher_on_another_server_does_not_get_the_students_key(run, prefs, catcher, monkeypatch):
    monkeypatch.setenv("PERSONALRM_API_KEY", "sesame")
    student = ("--model", "m", "--base-url", "http://127.0.0.1:1/v1", "--retry-pause", "0.001")
    run("optimize", prefs, *student, "--teacher-model", "t", "--teacher-base-url", catcher.url)
    assert set(catcher.keys) == {None}
    catcher.keys.clear()
    (prefs.parent / "key").write_text("teachers\n")
    run(
        "optimize",
        prefs,
        *student,
        "--teacher-model",
        "t",
        "--teacher-base-url",
        catcher.url,
        "--teacher-key-file",
        "key",
    )
    assert set(catcher.keys) == {"Bearer teachers"}


@pytest.mark.slow
def test_a_judges_file_is_held_to_the_same(run, tmp_path, monkeypatch):
    folder = tmp_path / "foreign"
    folder.mkdir()
    (tmp_path / "secret").write_text("sk-secret")
    monkeypatch.setenv("AWS_KEY", "sk-aws")
    base = (
        "bench",
        "build",
        "arena",
        "--out",
        "ds",
        "--without",
        "personalizable",
        "--dry-run",
        "--judges",
        folder / "judges.yaml",
    )

    def said(entry):
        (folder / "judges.yaml").write_text(f"judges:\n  - {{model: m, base_url: 'http://127.0.0.1:1/v1', {entry}}}\n")
        code, _, err = run(*base)
        assert (code, "sk-" in err) == (2, False)
        return err

    assert "if you trust the file, pass --allow-path" in said("key_file: ../secret")
    assert "begin with PERSONALRM_" in said("key_variable: AWS_KEY")
    assert "variable 'PERSONALRM_KEY_J' with the key of judge 'm' is not set" in said("key_variable: PERSONALRM_KEY_J")


def test_variables_of_keys_data_and_models_draw_no_warning(run, tmp_path, monkeypatch):
    for name in (
        "PERSONALRM_KEY_A",
        "PERSONALRM_KEY_A_HOST",
        "PERSONALRM_MODELS",
        "PERSONALRM_DATA",
        "PERSONALRM_API_KEY",
    ):
        monkeypatch.setenv(name, str(tmp_path))
    assert "warning" not in run("bench", "ls")[2]
