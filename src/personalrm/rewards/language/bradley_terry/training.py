"""Training of a Bradley-Terry network: -log sigmoid(r_c - r_r) of each pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput
from personalrm.rewards.language.bradley_terry.network import NetworkOptions, RewardNetwork
from personalrm.rewards.language.forests.pair_batches import SHARINGS, PairForest, Sharing, TokenPair, order_epochs
from personalrm.rewards.language.lora import Lora
from personalrm.rewards.language.pair_training import Called, Cutting, PairTraining, StepPart, run_fingerprint
from personalrm.rewards.training import Curve, Optimization


@dataclass(frozen=True)
class BradleyTerryOptions:
    """How a Bradley-Terry model is trained (paper, Table 6; what the table lacks is said in docs/paper.md)."""

    lora: Lora = field(default_factory=Lora)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    max_tokens: int = 8192
    """Longest sequence; oldest turns are left out of longer ones."""
    epochs: int = 1
    pairs_a_step: int = 16
    """Pairs of an optimizer step, over all processes."""
    learning_rate: float = 1e-4
    centering: float = 0.0
    """Weight of (r_c + r_r)^2, which keeps rewards near 0; no part of the paper."""
    sharing: Sharing = "conversation"
    """Whose common beginnings are computed once: nobody's, a pair's, a conversation's, a user's."""
    tokens_at_once: int = 16_384
    """Tokens of a forest; a step is cut into as many as it takes."""
    check_every: int = 50
    """Steps between two looks at the dev users."""
    patience: int = 5
    checkpoint_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sharing not in SHARINGS:
            raise BadInput(f"unknown sharing {self.sharing!r}; use one of {', '.join(SHARINGS)}")
        for name in ("epochs", "pairs_a_step", "tokens_at_once"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not (math.isfinite(self.centering) and self.centering >= 0):
            raise BadInput(f"centering must be at least 0, got {self.centering!r}")
        self.optimization(1)  # refuses rates and intervals that mean nothing

    def optimization(self, n_steps: int) -> Optimization:
        """AdamW without decay, linear to 0, gradient clipped at 1."""
        return Optimization(
            n_steps=n_steps,
            learning_rate=self.learning_rate,
            optimizer="adamw",
            schedule="linear",
            check_every=self.check_every,
            patience=self.patience,
            checkpoint_every=self.checkpoint_every,
        )


def train_network(
    network: RewardNetwork,
    pairs: Sequence[TokenPair],
    options: BradleyTerryOptions,
    *,
    dev: Sequence[TokenPair] = (),
    checkpoint: Path | None = None,
) -> Curve:
    """Train LoRA and head in place, on one process or on all that `accelerate launch` started; returns what happened.

    Args:
        network: From `open_network`, the same in every process.
        pairs: What to train on.
        options: How.
        dev: Targets of dev users; the parameters that do best on them are kept.
        checkpoint: File to keep the run in and to go on from.

    Raises:
        TrainingFailed: If all margins stay exactly 0, or loss or gradients are not numbers, step after step.
        BadInput: If the checkpoint is of another run.
        MissingExtra: If accelerate is not installed.
    """

    def loss(called: Called, part: StepPart) -> tuple[torch.Tensor, torch.Tensor]:
        return pair_losses(called, part.planted, options.centering)

    steps = order_epochs(pairs, options.epochs, pairs_a_step=options.pairs_a_step, seed=options.seed)
    cutting = Cutting(options.tokens_at_once, options.sharing != "none", options.seed)
    run = PairTraining(network, pairs, steps, loss, cutting)

    def look() -> float:
        return run.mean_loss(dev, lambda planted, _: pair_losses(network, planted, 0.0)[0])

    return run.train(
        options.optimization(len(steps)),
        dev=look if dev else None,
        checkpoint=checkpoint,
        fingerprint=run_fingerprint((*pairs, *dev), options, network, f"{len(pairs)} to learn from"),
    )


def pair_losses(
    network: Callable[[Any], torch.Tensor], planted: PairForest, centering: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and margins, shape `(pairs,)` each."""
    rewards = network(planted.forest)
    chosen = rewards[torch.from_numpy(planted.chosen).to(rewards.device)]
    rejected = rewards[torch.from_numpy(planted.rejected).to(rewards.device)]
    losses = -torch.nn.functional.logsigmoid(chosen - rejected) + centering * (chosen + rejected) ** 2
    return losses, chosen - rejected
