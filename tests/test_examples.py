"""Every example runs as a newcomer would run it, and prints what its first line promises."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from personalrm.preferences.people import example_users
from personalrm.testing import write_pairs

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWS = {
    "bench_offline.py": "110 cells run, 0 finished before",
    "correct_a_persona.py": "after:  P(the short one) = 0.0",
    "learn_and_judge.py": "second, P(first) = 0.",
    "measure_held_out.py": "13 users, 52 pairs, 0 unscored",
    "pick_the_best_draft.py": "henrik: Buy it. ",
    "mix_adapters.py": "an adapter of rank 16",
    "reward_for_trl.py": ", None]",
    "score_with_prefix_cache.py": "1 hit, ",
    "train_reward_models.py": "vpl  ",
    "train_bradley_terry.py": "trained on 8 pairs of 4 users",
    "train_vpl_on_language_model.py": "trained on 36 pairs of 12 users",
}
OFFLINE = "bench_offline.py"
N_PEOPLE = 4
"""In place of thirteen, each of whom costs the offline benchmark a thousand calls."""
IN_PROCESSES = ("learn_and_judge.py", "train_bradley_terry.py")
"""Run by an interpreter of their own, one of them with torch; the others share this one, whose imports are done."""


def test_every_example_is_tried() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(SHOWS)


@pytest.fixture
def printed_by(tmp_path: Path, monkeypatch, capsys):
    """Runs an example in an empty folder; gives back what it prints."""

    def run(path: Path) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [path.name])
        code = None
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert not code, err
        return out

    return run


@pytest.mark.parametrize("name", sorted(set(SHOWS) - {OFFLINE, *IN_PROCESSES}))
def test_an_example_runs(name: str, printed_by) -> None:
    assert SHOWS[name] in printed_by(EXAMPLES / name)


def test_the_offline_benchmark_runs_on_four_people(printed_by, tmp_path: Path) -> None:
    """Every cell of it."""
    write_pairs(tmp_path / "four.jsonl", [pair for user in example_users()[:N_PEOPLE] for pair in user])
    run_file = (EXAMPLES / OFFLINE).with_suffix(".yaml").read_text(encoding="utf-8")
    assert run_file.count("path: example") == 1
    (tmp_path / OFFLINE).with_suffix(".yaml").write_text(run_file.replace("path: example", "path: four.jsonl"))
    assert SHOWS[OFFLINE] in printed_by(shutil.copy(EXAMPLES / OFFLINE, tmp_path / OFFLINE))


@pytest.mark.endure
def test_the_offline_benchmark_runs_on_everybody(printed_by) -> None:
    assert SHOWS[OFFLINE] in printed_by(EXAMPLES / OFFLINE)


@pytest.mark.parametrize("name", IN_PROCESSES)
def test_an_example_runs_in_a_process_of_its_own(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, encoding="utf-8")
    assert SHOWS[name] in done.stdout
