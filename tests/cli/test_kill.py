"""A fit killed at any moment, run again, ends with the same bytes as one left alone."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.people import saved

from personalrm.preferences.people import example_users
from personalrm.preferences.prompt_json import pair_to_dict

pytestmark = pytest.mark.slow
COPIES = 6
"""Of the shipped people, 78 in all: their fit saves for a second and a half, each person in a transaction of their own."""


@dataclass(frozen=True)
class Whole:
    """A fit that nothing stopped: of which file, what it left behind, and for how long it was writing."""

    prefs: Path
    saved: dict[tuple[str, str], dict[str, object]]
    writes_s: float


def fit(prefs: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "personalrm", "fit", str(prefs), "--home", str(home)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def begins_to_write(process: subprocess.Popen[bytes], home: Path) -> None:
    """Waits for the first write: what was killed earlier has nothing to resume from."""
    while not (home / "people.db").exists():
        assert process.poll() is None
        time.sleep(0.001)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    users = example_users()
    with (folder / "prefs.jsonl").open("w", encoding="utf-8") as file:
        for copy in range(COPIES):
            for user in users:
                for pair in user:
                    file.write(json.dumps(pair_to_dict(pair) | {"user_id": f"{user.user_id}-{copy}"}) + "\n")
    process = fit(folder / "prefs.jsonl", folder / "home")
    begins_to_write(process, folder / "home")
    began = time.monotonic()
    assert process.wait() == 0
    return Whole(folder / "prefs.jsonl", saved(folder / "home"), time.monotonic() - began)


def stopped_and_finished(whole: Whole, home: Path, share: float, number: signal.Signals) -> int:
    """Stops a fit after a share of its writing, finishes it and compares; the exit code of what was stopped."""
    process = fit(whole.prefs, home)
    begins_to_write(process, home)
    time.sleep(share * whole.writes_s)
    process.send_signal(number)
    code = process.wait()
    assert saved(home).items() <= whole.saved.items()
    assert fit(whole.prefs, home).wait() == 0
    assert saved(home) == whole.saved
    return code


@pytest.mark.parametrize("seed", range(2))
def test_a_fit_killed_at_a_random_moment_resumes_to_the_same_bytes(whole, tmp_path, seed):
    stopped_and_finished(whole, tmp_path / "home", random.Random(seed).random(), signal.SIGKILL)


@pytest.mark.endure
@pytest.mark.parametrize("seed", range(2, 32))
def test_thirty_kills_resume_to_the_same_bytes(whole, tmp_path, seed):
    stopped_and_finished(whole, tmp_path / "home", random.Random(seed).random(), signal.SIGKILL)


def test_an_interrupt_saves_what_is_finished_and_says_so(whole, tmp_path):
    assert stopped_and_finished(whole, tmp_path / "home", 0.6, signal.SIGTERM) in (0, 3)
