"""The shared loop: same curve after a kill, best parameters kept, numbers that are none left out."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
import torch
from tests.fakes.forked import exit_code, imported_by_forked
from tests.rewards.tiny import die_after

from personalrm.errors import BadInput, CorruptFile, TrainingFailed
from personalrm.rewards.training import Checkpoints, Group, Loss, Optimization, train

pytestmark = pytest.mark.slow  # torch alone takes over a second to import
torch.set_num_threads(1)
imported_by_forked(__name__)
OPTIONS = Optimization(n_steps=30, learning_rate=0.05, check_every=5, checkpoint_every=7)


def line() -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def fitting(module: torch.nn.Module) -> Loss:
    """Squared error of a fixed line at random points."""

    def loss(_: int, generator: torch.Generator) -> torch.Tensor:
        x = torch.randn(16, 3, generator=generator)
        return ((module(x)[:, 0] - x.sum(dim=1)) ** 2).mean()

    return loss


def test_training_fits() -> None:
    module = line()
    curve = train(module, fitting(module), Optimization(n_steps=300, learning_rate=0.05))
    assert curve.losses[-1] < 1e-3 < curve.losses[0] and curve.best_step == 300


def test_one_seed_gives_one_curve() -> None:
    curves = [train(module, fitting(module), OPTIONS, seed=seed) for seed in (1, 1, 2) for module in [line()]]
    assert curves[0].losses == curves[1].losses != curves[2].losses


def test_an_interrupted_run_goes_on_with_the_same_curve(tmp_path: Path) -> None:
    whole, halted = line(), line()
    wanted = train(whole, fitting(whole), OPTIONS, dev=lambda: float(whole.bias.detach()))
    kept = Checkpoints(tmp_path / "run.safetensors", "data")
    loss = fitting(halted)

    def halting(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == 17:
            raise KeyboardInterrupt
        return loss(step, generator)

    with pytest.raises(KeyboardInterrupt):
        train(halted, halting, OPTIONS, dev=lambda: float(halted.bias.detach()), checkpoints=kept)
    resumed = line()
    curve = train(resumed, fitting(resumed), OPTIONS, dev=lambda: float(resumed.bias.detach()), checkpoints=kept)
    assert curve == wanted and torch.equal(whole.weight, resumed.weight)


def train_and_die(file: Path) -> None:
    die_after(17)
    module = line()
    train(module, fitting(module), OPTIONS, checkpoints=Checkpoints(file, "data"))


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_curve(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    assert exit_code(train_and_die, file) == -signal.SIGKILL
    whole, resumed = line(), line()
    curve = train(resumed, fitting(resumed), OPTIONS, checkpoints=Checkpoints(file, "data"))
    assert curve == train(whole, fitting(whole), OPTIONS)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    kept, module = Checkpoints(tmp_path / "run.safetensors", "data"), line()
    curve = train(module, fitting(module), OPTIONS, checkpoints=kept)
    assert train(line(), lambda step, generator: torch.tensor(math.nan), OPTIONS, checkpoints=kept) == curve


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    module = line()
    train(module, fitting(module), OPTIONS, checkpoints=Checkpoints(tmp_path / "run", "data"))
    with pytest.raises(BadInput, match="other data or settings"):
        train(module, fitting(module), OPTIONS, checkpoints=Checkpoints(tmp_path / "run", "other data"))


def test_a_cut_checkpoint_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"\x08\x00\x00")
    module = line()
    with pytest.raises(CorruptFile, match="remove it"):
        train(module, fitting(module), OPTIONS, checkpoints=Checkpoints(tmp_path / "run", "data"))


def test_the_best_parameters_on_dev_users_are_kept_and_end_the_run() -> None:
    module, values = line(), iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    options = Optimization(n_steps=100, learning_rate=0.05, check_every=5, patience=3)
    curve = train(module, fitting(module), options, dev=lambda: next(values))
    assert (curve.best_step, len(curve.losses)) == (10, 25)


def test_a_dev_loss_that_is_no_number_is_never_the_best() -> None:
    module, values = line(), iter([math.nan, 1.0, math.nan])
    options = Optimization(n_steps=15, check_every=5)
    assert train(module, fitting(module), options, dev=lambda: next(values)).best_step == 10


def test_steps_that_are_no_numbers_are_left_out_and_counted() -> None:
    module = line()
    loss = fitting(module)
    curve = train(module, lambda step, g: loss(step, g) * (math.nan if step == 3 else 1.0), OPTIONS)
    assert curve.n_skipped == 1 and math.isnan(curve.losses[3]) and math.isfinite(curve.losses[4])
    assert torch.isfinite(module.weight).all()


def test_gradients_that_are_no_numbers_are_left_out() -> None:
    module = line()
    loss = fitting(module)

    def broken(step: int, generator: torch.Generator) -> torch.Tensor:
        return loss(step, generator) + (0.0 * torch.sqrt(module.bias.sum() * 0.0) if step == 3 else 0.0)

    curve = train(module, broken, OPTIONS)
    assert curve.n_skipped == 1 and torch.isfinite(module.bias).all()


def test_training_that_cannot_go_on_says_so() -> None:
    with pytest.raises(TrainingFailed, match="20 steps in a row"):
        train(line(), lambda step, generator: torch.tensor(math.nan), OPTIONS)


def test_groups_have_rates_of_their_own() -> None:
    module = line()
    before = module.bias.detach().clone()
    train(module, fitting(module), OPTIONS, groups=[Group([module.weight], 0.05)])
    assert torch.equal(module.bias, before)


def test_cosine_and_linear_end_at_zero() -> None:
    shares = [Optimization(n_steps=10, schedule=name, warmup=0.2).share(10) for name in ("cosine", "linear")]
    assert shares == pytest.approx([0.0, 0.0]) and Optimization(n_steps=10, warmup=0.2).share(0) == 0.5


@pytest.mark.parametrize(
    "options", [{"n_steps": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"check_every": 0}]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Optimization(**options)  # type: ignore[arg-type]
