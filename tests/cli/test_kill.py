"""A fit killed at any moment, run again, ends with the same bytes as one left alone."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fakes.people import saved

from personalrm.preferences.people import example_users
from personalrm.preferences.prompt_json import pair_to_dict

pytestmark = pytest.mark.slow
TAKES_S = 5.0


def fit(prefs: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "personalrm", "fit", str(prefs), "--home", str(home)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write_copies(path: Path, copies: int) -> None:
    """The shipped people, copied under new user ids."""
    users = example_users()
    with path.open("w", encoding="utf-8") as file:
        for copy in range(copies):
            for user in users:
                for pair in user:
                    file.write(json.dumps(pair_to_dict(pair) | {"user_id": f"{user.user_id}-{copy}"}) + "\n")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A file whose fit takes `TAKES_S` here, what the fit leaves behind, and how long it took."""
    folder = tmp_path_factory.mktemp("whole")
    copies = 60
    while True:
        write_copies(folder / "prefs.jsonl", copies)
        home = folder / f"home-{copies}"
        started = time.monotonic()
        assert fit(folder / "prefs.jsonl", home).wait() == 0
        wall = time.monotonic() - started
        if wall >= TAKES_S:
            return folder / "prefs.jsonl", saved(home), wall
        copies = int(copies * max(1.3, 1.15 * TAKES_S / wall))


def killed_and_finished(uninterrupted, home: Path, seed: int) -> None:
    prefs, expected, wall = uninterrupted
    moments = random.Random(seed)
    process = fit(prefs, home)
    time.sleep(moments.uniform(0.0, wall))
    process.kill()
    process.wait()
    before = saved(home)
    assert before.items() <= expected.items()
    assert fit(prefs, home).wait() == 0
    assert saved(home) == expected


@pytest.mark.parametrize("seed", range(2))
def test_a_fit_killed_at_a_random_moment_resumes_to_the_same_bytes(uninterrupted, tmp_path, seed):
    killed_and_finished(uninterrupted, tmp_path / "home", seed)


@pytest.mark.endure
@pytest.mark.parametrize("seed", range(2, 32))
def test_thirty_kills_resume_to_the_same_bytes(uninterrupted, tmp_path, seed):
    killed_and_finished(uninterrupted, tmp_path / "home", seed)


def test_an_interrupt_saves_what_is_finished_and_says_so(uninterrupted, tmp_path):
    prefs, expected, wall = uninterrupted
    process = fit(prefs, tmp_path / "home")
    time.sleep(0.7 * wall)
    process.terminate()
    assert process.wait() in (0, 3, -15)  # -15: the signal came before the second pass began
    assert saved(tmp_path / "home").items() <= expected.items()
    assert fit(prefs, tmp_path / "home").wait() == 0
    assert saved(tmp_path / "home") == expected
