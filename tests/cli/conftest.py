import os
import shutil

import pytest
from tests.fakes.command import output_of

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


def write_prefs(folder):
    return write_pairs(folder / "prefs.jsonl", [pair for user in tiny_users(8) for pair in user])


@pytest.fixture
def prefs(tmp_path):
    return write_prefs(tmp_path)


@pytest.fixture(scope="session")
def fitted_home(tmp_path_factory):
    """A home that has learned the people of `prefs`; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("fitted")
    write_prefs(folder)
    output_of("fit", folder / "prefs.jsonl", "--home", folder / "personalrm-home")
    return folder / "personalrm-home"


@pytest.fixture
def fitted(run, prefs, fitted_home):
    shutil.copytree(fitted_home, prefs.with_name("personalrm-home"), dirs_exist_ok=True)
    return run
