import os

import pytest

from personalrm.cli import main
from personalrm.testing import tiny_users, write_pairs


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder; gives back exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PERSONALRM_") and name != "PERSONALRM_DATA"]:
        monkeypatch.delenv(name)

    def run_command(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture
def prefs(tmp_path):
    return write_pairs(tmp_path / "prefs.jsonl", [pair for user in tiny_users(8) for pair in user])


@pytest.fixture
def fitted(run, prefs):
    assert run("fit", prefs)[0] == 0
    return run
