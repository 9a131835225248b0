"""Training of a language model on steps of pairs, cut into forests, on one process or several.

The loss of a step is the mean over its pairs, whatever the forests and however many
processes share them: each process sums its part over the whole step's number of pairs,
and the mean that distributed training takes of gradients is undone by the number of
processes. What the loss of a pair is stays with the method.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from personalrm.embedding.with_torch import packages_of, torch
from personalrm.errors import BadInput, TrainingFailed
from personalrm.rewards.language.forests.pair_batches import (
    SHARINGS,
    PairForest,
    Sharing,
    TokenPair,
    cut_to_budget,
    plant,
)
from personalrm.rewards.language.lora import AdaptedNetwork, Lora, fingerprint
from personalrm.rewards.training import STEP_STRIDE, Checkpoints, Curve, Dev, Group, Optimization, train_in_parts

MOST_FLAT = 3
"""Steps after the first whose margins may all be exactly 0 before training is given up."""
Called = Callable[..., Any]
"""The network as the loss calls it: itself, or wrapped so that processes exchange gradients."""


@dataclass(frozen=True)
class StepOptions:
    """How a language model is trained in steps of pairs, whatever stands on top of it."""

    lora: Lora = field(default_factory=Lora)
    max_tokens: int = 8192
    """Longest sequence; oldest turns are left out of longer ones."""
    epochs: int = 1
    pairs_a_step: int = 16
    """Pairs of an optimizer step, over all processes."""
    learning_rate: float = 1e-4
    """Of LoRA, and of a head that has none of its own."""
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


@dataclass(frozen=True, repr=False)
class StepPart:
    """Pairs of a step that go through the model together."""

    planted: PairForest
    places: Sequence[int]
    """Which pairs these are, among all that are trained on."""
    step: int
    step_places: Sequence[int]
    """All pairs of the step, so that what is drawn for a pair does not depend on the parts."""


class PairLoss(Protocol):
    """Says what the pairs of a part cost."""

    def __call__(self, network: Called, part: StepPart, /) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses `(pairs,)` and margins `(pairs, ...)`; the network is called once."""
        ...


class PairTraining:
    """One training: the steps, this process's part of each, and what was seen of the margins.

    Args:
        network: The same in every process; trained in place.
        pairs: What to train on.
        steps: Places of each step's pairs.
        loss: What a pair costs.
        options: How steps become forests, rates, looks.

    Raises:
        MissingExtra: If accelerate is not installed.
    """

    def __init__(
        self,
        network: AdaptedNetwork,
        pairs: Sequence[TokenPair],
        steps: Sequence[Sequence[int]],
        loss: PairLoss,
        options: StepOptions,
    ) -> None:
        with packages_of("train"):
            from accelerate import Accelerator
        self.accelerator = Accelerator()
        self._inner, self._pairs, self._steps, self._loss, self._options = network, pairs, steps, loss, options
        self._network = self.accelerator.prepare_model(network)
        self._n_flat, self._has_margins = 0, False
        self.n_tokens_run = 0
        """Tokens that this process has put through the model to train, shared beginnings counted once."""

    def train(
        self,
        *,
        groups: Sequence[Group] | None = None,
        dev: Dev | None = None,
        checkpoint: Path | None = None,
        fingerprint: str = "",
    ) -> Curve:
        """Train the network in place; returns what happened.

        Under `accelerate launch` every process calls this with the same arguments and takes
        its part of each step.

        Args:
            groups: Parameters with rates of their own.
            dev: Loss on the dev users, lower is better.
            checkpoint: File to keep the run in and to go on from.
            fingerprint: What the run is of.

        Raises:
            TrainingFailed: If all margins stay exactly 0, or loss or gradients are not numbers, step after step.
            BadInput: If the checkpoint is of another run.
        """
        kept = None
        if checkpoint is not None:
            kept = Checkpoints(checkpoint, fingerprint, self.accelerator.is_main_process)
        trained = torch.nn.Module()  # the trained parameters alone, so that checkpoints leave the frozen model out
        for name, parameter in self._inner.trained():
            trained.register_parameter(name.replace(".", "/"), parameter)
        optimization = self._options.optimization(len(self._steps))
        curve = train_in_parts(trained, self.accumulate, optimization, groups=groups, dev=dev, checkpoints=kept)
        if self._n_flat and not self._has_margins:  # over before there were too many
            self._refuse_flat()
        self.accelerator.wait_for_everyone()
        self._inner.eval()
        return curve

    def accumulate(self, step: int) -> float:
        """Gradient and loss of a step, part by part."""
        self._inner.train()
        places = self._steps[step]
        # A process for which no part is left keeps in step with one that counts nothing.
        parts, weight = self._own_parts(places), 1.0
        if not parts:
            parts, weight = [[places[0]]], 0.0
        total, largest = torch.zeros(2, device=self.accelerator.device)
        # Dropout by seed and step alone, so that a resumed run goes on alike; the caller's draws stay as they are.
        with torch.random.fork_rng():
            torch.manual_seed(self._options.seed * STEP_STRIDE + step)
            for number, part in enumerate(parts):
                planted = self._planted(self._pairs, part)
                self.n_tokens_run += len(planted.forest)
                is_last = number == len(parts) - 1
                # Gradients are exchanged once a step, after the last part.
                with nullcontext() if is_last else self.accelerator.no_sync(self._network):
                    losses, margins = self._loss(self._network, StepPart(planted, part, step, places))
                    loss = weight * losses.sum() / len(places)
                    self.accelerator.backward(loss * self.accelerator.num_processes)
                total += loss.detach()
                # Python's max would make 0 of no number, and a step without numbers is not a flat one.
                largest = torch.maximum(largest, margins.detach().abs().max() * weight)
        total, tallest = self._over_processes(total), float(self._over_processes(largest, "max"))
        self._has_margins |= tallest > 0
        self._n_flat = self._n_flat + 1 if tallest == 0 and step > 0 else 0
        if self._n_flat >= MOST_FLAT:
            self._refuse_flat()
        return float(total)

    @torch.no_grad()
    def mean_loss(
        self, pairs: Sequence[TokenPair], losses: Callable[[PairForest, Sequence[int]], torch.Tensor]
    ) -> float:
        """Mean over some pairs, such as dev users' targets, every process its part.

        Args:
            pairs: At least one.
            losses: Losses `(pairs,)` of a forest, given the places of its pairs.
        """
        self._inner.eval()
        everything = cut_to_budget(pairs, range(len(pairs)), max_tokens=self._options.tokens_at_once)
        total = torch.zeros((), device=self.accelerator.device)
        for part in everything[self.accelerator.process_index :: self.accelerator.num_processes]:
            total += losses(self._planted(pairs, part), part).sum()
        return float(self._over_processes(total)) / len(pairs)

    def _refuse_flat(self) -> None:
        """Stop where chosen and rejected always get the same reward: the score is read in the shared prompt."""
        raise TrainingFailed(
            f"all margins of {self._n_flat} steps in a row are exactly 0, so chosen and rejected are scored alike; "
            "check that the chat template shows the completion and that it is not cut off"
        )

    def _planted(self, pairs: Sequence[TokenPair], places: Sequence[int]) -> PairForest:
        return plant([pairs[place] for place in places], is_shared=self._options.sharing != "none")

    def _own_parts(self, places: Sequence[int]) -> list[list[int]]:
        """This process's parts of a step; none where there are fewer pairs than processes."""
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
        return loads[index]

    def _over_processes(self, value: torch.Tensor, how: str = "sum") -> torch.Tensor:
        if self.accelerator.num_processes == 1:
            return value
        gathered: Any = self.accelerator.gather(value.to(self.accelerator.device).reshape(1))
        result: torch.Tensor = gathered.sum() if how == "sum" else gathered.max()
        return result


def run_fingerprint(pairs: Sequence[TokenPair], options: Any, network: AdaptedNetwork, *others: str) -> str:
    """What a run is of: tokens, settings, base model, the trained parameters' shapes, and what else decides it."""
    told = hashlib.blake2b(json.dumps(asdict(options), sort_keys=True).encode(), digest_size=16)
    for pair in pairs:
        told.update(np.array([len(pair.chosen), len(pair.rejected), *pair.chosen, *pair.rejected]).tobytes())
    told.update(fingerprint(network.decoder).encode())
    for name, parameter in network.trained():
        told.update(f"{name} {tuple(parameter.shape)}".encode())
    for other in others:
        told.update(f"{len(other)} {other}".encode())
    return told.hexdigest()
