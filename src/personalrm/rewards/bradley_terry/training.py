"""Training of a Bradley-Terry network: steps of pairs, cut into forests, on one process or several.

The loss of a step is the mean over its pairs of -log sigmoid(r_c - r_r), whatever the
forests and however many processes share them (reward_models.md, 1.3): each process sums
its part over the whole step's number of pairs, and the mean that distributed training
takes of gradients is undone by the number of processes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, MissingExtra, TrainingFailed
from personalrm.rewards.bradley_terry.network import Lora, NetworkOptions, RewardNetwork, fingerprint
from personalrm.rewards.forests.pair_batches import (
    SHARINGS,
    PairForest,
    Sharing,
    TokenPair,
    cut_to_budget,
    order_steps,
    plant,
)
from personalrm.rewards.training import Checkpoints, Curve, Optimization, train_in_parts

MOST_FLAT = 3
"""Steps after the first whose margins may all be exactly 0 before training is given up."""


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
    """Train LoRA and head in place; returns what happened.

    Under `accelerate launch` every process calls this with the same arguments and takes
    its part of each step.

    Args:
        network: From `open_network`, the same in every process.
        pairs: What to train on.
        options: How.
        dev: Targets of dev users; the parameters that do best on them are kept.
        checkpoint: File to keep the run in and to go on from.

    Raises:
        TrainingFailed: If all margins stay exactly 0, or loss or gradients are no numbers, step after step.
        BadInput: If the checkpoint is of another run, or a step has fewer pairs than there are processes.
        MissingExtra: If accelerate is not installed.
    """
    steps = [
        step
        for epoch in range(options.epochs)
        for step in order_steps(pairs, pairs_a_step=options.pairs_a_step, seed=options.seed + epoch)
    ]
    run = _Training(network, pairs, options, steps)
    kept = None
    if checkpoint is not None:
        kept = Checkpoints(checkpoint, _fingerprint(pairs, dev, options, network), run.accelerator.is_main_process)
    trained = _Trained(network)
    look = (lambda: run.mean_loss(dev)) if dev else None
    curve = train_in_parts(trained, run.accumulate, options.optimization(len(steps)), dev=look, checkpoints=kept)
    run.refuse_flat(is_end=True)
    run.accelerator.wait_for_everyone()
    network.eval()
    return curve


def pair_losses(
    network: Callable[[Any], torch.Tensor], planted: PairForest, centering: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and margins, shape `(pairs,)` each."""
    rewards = network(planted.forest)
    chosen = rewards[torch.from_numpy(planted.chosen).to(rewards.device)]
    rejected = rewards[torch.from_numpy(planted.rejected).to(rewards.device)]
    losses = -torch.nn.functional.logsigmoid(chosen - rejected) + centering * (chosen + rejected) ** 2
    return losses, chosen - rejected


class _Trained(torch.nn.Module):
    """The trained parameters alone, so that checkpoints leave the frozen model out."""

    def __init__(self, network: RewardNetwork) -> None:
        super().__init__()
        for name, parameter in network.trained():
            self.register_parameter(name.replace(".", "/"), parameter)


class _Training:
    """One training: the steps, this process's part of each, and what was seen of the margins."""

    def __init__(
        self,
        network: RewardNetwork,
        pairs: Sequence[TokenPair],
        options: BradleyTerryOptions,
        steps: Sequence[Sequence[int]],
    ) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise MissingExtra("accelerate is not installed; pip install 'personalrm[train]'") from None
        self.accelerator = Accelerator()
        self._inner, self._pairs, self._options, self._steps = network, pairs, options, steps
        self._network = self.accelerator.prepare_model(network)
        self._n_flat, self._has_margins = 0, False

    def accumulate(self, step: int) -> float:
        """Gradient and loss of a step, part by part."""
        self._inner.train()
        places = self._steps[step]
        parts = self._own_parts(places)
        total, largest = torch.zeros((), device=self.accelerator.device), 0.0
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            # Gradients are exchanged once a step, after the last part.
            with nullcontext() if is_last else self.accelerator.no_sync(self._network):
                planted = plant([self._pairs[place] for place in part.places], is_shared=self._is_shared)
                losses, margins = pair_losses(self._network, planted, self._options.centering)
                loss = part.weight * losses.sum() / len(places)
                self.accelerator.backward(loss * self.accelerator.num_processes)
            total += loss.detach()
            largest = max(largest, float(margins.detach().abs().max()) * part.weight)
        total, tallest = self._over_processes(total), self._over_processes(torch.tensor(largest), "max")
        self._has_margins |= float(tallest) > 0
        self._n_flat = self._n_flat + 1 if float(tallest) == 0 and step > 0 else 0
        self.refuse_flat()
        return float(total)

    def refuse_flat(self, *, is_end: bool = False) -> None:
        """Stop where chosen and rejected always get the same reward: the score is read in the shared prompt.

        Raises:
            TrainingFailed: Then.
        """
        if self._n_flat >= MOST_FLAT or (is_end and self._n_flat > 0 and not self._has_margins):
            raise TrainingFailed(
                f"all margins of {self._n_flat} steps in a row are exactly 0, so chosen and rejected are scored alike; "
                "check that the chat template shows the completion and that it is not cut off"
            )

    @torch.no_grad()
    def mean_loss(self, pairs: Sequence[TokenPair]) -> float:
        """Mean loss of the pairs, every process its part."""
        self._inner.eval()
        everything = cut_to_budget(pairs, range(len(pairs)), max_tokens=self._options.tokens_at_once)
        own = everything[self.accelerator.process_index :: self.accelerator.num_processes]
        total = torch.zeros((), device=self.accelerator.device)
        for part in own:
            planted = plant([pairs[place] for place in part], is_shared=self._is_shared)
            total += pair_losses(self._inner, planted, 0.0)[0].sum()
        return float(self._over_processes(total)) / len(pairs)

    @property
    def _is_shared(self) -> bool:
        return self._options.sharing != "none"

    def _own_parts(self, places: Sequence[int]) -> list[_Part]:
        """This process's parts of a step; where there are too few, one that counts nothing."""
        parts = cut_to_budget(self._pairs, places, max_tokens=self._options.tokens_at_once)
        n, index = self.accelerator.num_processes, self.accelerator.process_index
        while len(parts) < n and max(map(len, parts)) > 1:
            longest = max(parts, key=len)
            parts.remove(longest)
            parts += [longest[: len(longest) // 2], longest[len(longest) // 2 :]]
        # The heaviest first, each to whoever has least so far.
        loads: list[list[list[int]]] = [[] for _ in range(n)]
        weights = np.zeros(n)
        for part in sorted(parts, key=lambda part: -sum(self._pairs[place].n_tokens for place in part)):
            lightest = int(np.argmin(weights))
            loads[lightest].append(part)
            weights[lightest] += sum(self._pairs[place].n_tokens for place in part)
        return [_Part(part) for part in loads[index]] or [_Part([places[0]], weight=0.0)]

    def _over_processes(self, value: torch.Tensor, how: str = "sum") -> torch.Tensor:
        if self.accelerator.num_processes == 1:
            return value
        gathered: Any = self.accelerator.gather(value.to(self.accelerator.device).reshape(1))
        result: torch.Tensor = gathered.sum() if how == "sum" else gathered.max()
        return result


@dataclass(frozen=True)
class _Part:
    """Pairs of one forest; weight 0 keeps a process in step that has nothing to do."""

    places: list[int]
    weight: float = 1.0


def _fingerprint(
    pairs: Sequence[TokenPair], dev: Sequence[TokenPair], options: BradleyTerryOptions, network: RewardNetwork
) -> str:
    """What the run is of: tokens, settings, base model, and the shapes of what is trained."""
    told = hashlib.blake2b(json.dumps(asdict(options), sort_keys=True).encode(), digest_size=16)
    for pair in (*pairs, *dev):
        told.update(np.array([len(pair.chosen), len(pair.rejected), *pair.chosen, *pair.rejected]).tobytes())
    told.update(fingerprint(network.decoder).encode())
    for name, parameter in network.trained():
        told.update(f"{name} {tuple(parameter.shape)}".encode())
    return told.hexdigest()
