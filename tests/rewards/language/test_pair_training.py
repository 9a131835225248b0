"""Training in forests: steps without numbers are left out and counted, tokens counted, dropout drawn by step."""

from __future__ import annotations

import math

import pytest
import torch
from tests.rewards.tiny import tiny_model

from personalrm.errors import TrainingFailed
from personalrm.rewards.language.bradley_terry.network import NetworkOptions, open_network, pair_losses
from personalrm.rewards.language.forests.pair_batches import TokenPair
from personalrm.rewards.language.lora import Lora
from personalrm.rewards.language.pair_training import Called, PairTraining, StepOptions, StepPart
from personalrm.rewards.training import Curve

pytestmark = pytest.mark.slow  # transformers and PEFT take seconds to import
PAIRS = [TokenPair((5, 6, 7, n), (5, 6, 8), 0) for n in range(20, 24)]
STEPS = [[0, 1], [2, 3], [0, 1], [2, 3]]


def trained(*, bad_step: int = -1, dropout: float = 0.0, tokens_at_once: int = 1000) -> tuple[Curve, int]:
    """The curve of four steps, one of which may have no number for a loss, and the tokens they took."""

    def loss(network: Called, part: StepPart) -> tuple[torch.Tensor, torch.Tensor]:
        losses, margins = pair_losses(network, part.planted, 0.0)
        return losses * (math.nan if part.step == bad_step else 1.0), margins

    options = NetworkOptions(head_start="normal")
    network = open_network(tiny_model(), Lora(4, 8.0, dropout=dropout), seed=0, options=options)
    run = PairTraining(network, PAIRS, STEPS, loss, StepOptions(tokens_at_once=tokens_at_once, learning_rate=1e-2))
    return run.train(), run.n_tokens_run


def test_a_step_whose_loss_is_no_number_is_left_out_and_counted() -> None:
    curve, _ = trained(bad_step=1)
    assert curve.n_skipped == 1 and [math.isnan(loss) for loss in curve.losses] == [False, True, False, False]
    assert curve.losses[3] != pytest.approx(trained()[0].losses[1], abs=1e-6)  # it was trained on after all


def test_a_shared_beginning_is_counted_once() -> None:
    assert trained()[1] == 4 * (2 + 1 + 2 + 1)  # 5 6, 8, then 7 and what follows it: two ends


def test_dropout_is_drawn_by_step_and_leaves_the_callers_draws_alone() -> None:
    torch.manual_seed(7)
    first = trained(dropout=0.5)[0].losses
    drawn = torch.rand(1)
    torch.manual_seed(8)
    assert trained(dropout=0.5)[0].losses == first != trained()[0].losses
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), drawn)


def test_steps_without_numbers_are_not_taken_for_steps_without_differences() -> None:
    def loss(network: Called, part: StepPart) -> tuple[torch.Tensor, torch.Tensor]:
        losses, margins = pair_losses(network, part.planted, 0.0)
        return losses * math.nan, margins * math.nan

    network = open_network(tiny_model(), Lora(4, 8.0), seed=0, options=NetworkOptions())
    run = PairTraining(network, PAIRS, STEPS * 6, loss, StepOptions())
    with pytest.raises(TrainingFailed, match="not numbers 20 steps in a row"):
        run.train()
