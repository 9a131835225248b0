"""`fit` and others from a pipe: what it holds is read once, and fitted as if it were a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from personalrm.preferences.reading.grouping import KeptUsers
from personalrm.testing import tiny_users

pytestmark = pytest.mark.slow


def start(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "personalrm", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.fixture
def pipe(tmp_path):
    """A named pipe that is fed once: whoever opens it a second time waits for ever."""

    def make(content, name="p.jsonl"):
        os.mkfifo(tmp_path / name)
        thread = threading.Thread(target=lambda: (tmp_path / name).write_bytes(content), daemon=True)
        thread.start()
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["p.jsonl", "63"])
def test_a_pipe_is_fitted_as_the_file_would_be(run, prefs, pipe, name):
    code, out, _ = run("fit", pipe(prefs.read_bytes(), name))
    assert (code, "8 users fitted, 0 unchanged" in out) == (0, True)
    assert "0 users fitted, 8 unchanged" in run("fit", prefs)[1]


def test_standard_input_is_fitted_too(run, prefs):
    with prefs.open("rb") as file:
        fit = start("fit", "-", "--home", prefs.parent / "home", stdin=file)
        assert "8 users fitted" in fit.communicate(timeout=60)[0]
    assert "0 users fitted, 8 unchanged" in run("fit", prefs, "--home", prefs.parent / "home")[1]


def test_the_first_sigterm_ends_a_fit_whose_pipe_says_nothing_more(tmp_path):
    os.mkfifo(tmp_path / "p.jsonl")
    fit = start("fit", tmp_path / "p.jsonl", "--home", tmp_path / "home")
    handle = os.open(tmp_path / "p.jsonl", os.O_WRONLY)  # waits until it reads
    fit.send_signal(signal.SIGTERM)
    fit.communicate(timeout=60)
    os.close(handle)
    assert fit.returncode != 0


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"\xff\n", "is not UTF-8"), (b"{}\n", "fit no known layout")]
)
def test_what_is_wrong_in_a_pipe_is_a_sentence(run, pipe, content, said):
    code, _, err = run("fit", pipe(content))
    assert (code, said in err, "Traceback" in err) == (2, True, False)


def test_users_that_are_kept_are_the_same_the_second_time():
    users, kept = tiny_users(3), KeptUsers()
    assert list(kept.keep(users)) == users
    assert list(kept) == list(kept) == users
