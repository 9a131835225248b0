"""What is shown while a model is trained: one line on a terminal, few in a pipe, none with --json."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest

from personalrm.cli.training_progress import TrainingProgress
from personalrm.errors import PersonalRMError
from personalrm.preferences.people import example_path
from personalrm.rewards.watching import Moment


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_is_rewritten() -> None:
    stream = Terminal()
    with TrainingProgress("vpl", stream=stream) as progress:
        progress.embedded(0, 900)
        progress.moved(Moment(1, 2, 0.69314, None))
        progress.moved(Moment(2, 2, 0.5, 0.61))
    assert "\n" not in stream.getvalue() and stream.getvalue().endswith("\r\033[K")
    assert "embedding: 0 of 900 texts" in stream.getvalue()
    assert "vpl: step 2 of 2, loss 0.5000, dev loss 0.6100" in stream.getvalue()


def test_a_pipe_has_a_line_now_and_then() -> None:
    stream = io.StringIO()
    with TrainingProgress("gpo", stream=stream, line_s=3600.0) as progress:
        for step in range(1, 501):
            progress.moved(Moment(step, 500, 0.5))
    assert stream.getvalue() == "gpo: step 1 of 500, loss 0.5000\ngpo: step 500 of 500, loss 0.5000\n"


def test_a_training_that_ends_early_says_in_a_pipe_where() -> None:
    stream = io.StringIO()
    with TrainingProgress("gpo", stream=stream, line_s=3600.0) as progress:
        for step in range(1, 9):
            progress.moved(Moment(step, 500, 0.5, 0.6))
    assert stream.getvalue().splitlines()[1:] == ["gpo: ended at step 8 of 500, loss 0.5000, dev loss 0.6000"]


def test_a_line_tells_the_time_left() -> None:
    stream = io.StringIO()
    progress = TrainingProgress("gpo", stream=stream, line_s=0.0)
    for step in (1, 2):
        progress.moved(Moment(step, 3, math.nan))
    assert stream.getvalue().splitlines()[1] == "gpo: step 2 of 3, loss nan, 0 s left"


def test_a_killed_run_says_from_where_it_goes_on() -> None:
    stream = io.StringIO()
    TrainingProgress("pal", stream=stream).moved(Moment(500, 600, is_resumed=True, part="adapter 2 of 4"))
    assert stream.getvalue() == "pal, adapter 2 of 4: goes on from step 500 of 600\n"


def test_nothing_is_shown_where_it_is_silent() -> None:
    for stream in (io.StringIO(), Terminal()):
        with TrainingProgress("pal", is_silent=True, stream=stream) as progress:
            progress.embedded(3, 4)
            progress.moved(Moment(1, 2, 0.1))
            progress.moved(Moment(1, 2, is_resumed=True))
        assert stream.getvalue() == ""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["low_rank", "mrm", "soup", "gpo", "vpl", "pal"])
def test_every_method_shows_its_steps(run, tmp_path: Path, method: str) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("optimization: {n_steps: 3}\n" if method not in ("low_rank", "soup") else "n_iterations: 20\n")
    arguments = ("train", method, example_path(), "--out", tmp_path / "model", "--home", tmp_path, "-c", settings)
    code, out, err = run(*arguments, "--dev-percent", "30")
    assert code == 0 and f"{method}: step 1 of " in err and "of 254 texts" in err.replace("381", "254")
    assert "own minus another user's state" in out
    assert "own minus another user's state" in (tmp_path / "model" / "README.md").read_text()
    assert "step" not in run(*arguments, "--json")[2]


@pytest.mark.slow
def test_a_killed_training_tells_where_it_goes_on(tmp_path: Path) -> None:
    import torch

    from personalrm.rewards.training import Checkpoints, Optimization, train
    from personalrm.rewards.watching import watched

    told: list[Moment] = []
    module = torch.nn.Linear(2, 1)

    def loss(_: int, generator: torch.Generator) -> torch.Tensor:
        return module(torch.randn(4, 2, generator=generator)).pow(2).mean()

    def kill(moment: Moment) -> None:
        if moment.step == 12:
            raise PersonalRMError("killed")

    options, kept = Optimization(n_steps=20, checkpoint_every=5), Checkpoints(tmp_path / "c.safetensors", "x")
    with watched(kill), pytest.raises(PersonalRMError):
        train(module, loss, options, checkpoints=kept)
    with watched(told.append):
        train(module, loss, options, checkpoints=kept)
    assert told[0] == Moment(10, 20, is_resumed=True) and [one.step for one in told[1:]] == list(range(11, 21))
