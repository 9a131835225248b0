"""Training of a language model on steps of pairs, cut into forests, on one process or several.

The loss of a step is the mean over its pairs, whatever the forests and however many
processes share them: each process sums its part over the whole step's number of pairs,
and the mean that distributed training takes of gradients is undone by the number of
processes. What the loss of a pair is stays with the method.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from personalrm.embedding.with_torch import torch
from personalrm.errors import MissingExtra, TrainingFailed
from personalrm.rewards.language.forests.pair_batches import PairForest, TokenPair, cut_to_budget, plant
from personalrm.rewards.language.lora import AdaptedNetwork, fingerprint
from personalrm.rewards.training import STEP_STRIDE, Checkpoints, Curve, Dev, Group, Optimization, train_in_parts
from personalrm.wording import absence

MOST_FLAT = 3
"""Steps after the first whose margins may all be exactly 0 before training is given up."""
Called = Callable[..., Any]
"""The network as the loss calls it: itself, or wrapped so that processes exchange gradients."""


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


@dataclass(frozen=True)
class Cutting:
    """How steps become forests."""

    tokens_at_once: int
    is_shared: bool = True
    """Whether common beginnings are computed once."""
    seed: int = 0
    """Of dropout."""


class PairTraining:
    """One training: the steps, this process's part of each, and what was seen of the margins.

    Args:
        network: The same in every process; trained in place.
        pairs: What to train on.
        steps: Places of each step's pairs.
        loss: What a pair costs.
        cutting: How steps become forests.

    Raises:
        MissingExtra: If accelerate is not installed.
    """

    def __init__(
        self,
        network: AdaptedNetwork,
        pairs: Sequence[TokenPair],
        steps: Sequence[Sequence[int]],
        loss: PairLoss,
        cutting: Cutting,
    ) -> None:
        try:
            from accelerate import Accelerator
        except (ImportError, OSError, MemoryError) as error:
            raise MissingExtra(absence(error, "accelerate", "train")) from None
        self.accelerator = Accelerator()
        self._inner, self._pairs, self._steps, self._loss, self._cutting = network, pairs, steps, loss, cutting
        self._network = self.accelerator.prepare_model(network)
        self._n_flat, self._has_margins = 0, False
        self.n_tokens_run = 0
        """Tokens that this process has put through the model to train, shared beginnings counted once."""

    def train(
        self,
        optimization: Optimization,
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
            optimization: Rates, clipping, looks; as many steps as there are.
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
        trained = _Trained(self._inner)
        curve = train_in_parts(trained, self.accumulate, optimization, groups=groups, dev=dev, checkpoints=kept)
        self._refuse_flat(is_end=True)
        self.accelerator.wait_for_everyone()
        self._inner.eval()
        return curve

    def accumulate(self, step: int) -> float:
        """Gradient and loss of a step, part by part."""
        self._inner.train()
        places = self._steps[step]
        parts = self._own_parts(places)
        total, largest = torch.zeros(2, device=self.accelerator.device)
        with _seeded(self._cutting.seed * STEP_STRIDE + step):
            for number, part in enumerate(parts):
                is_last = number == len(parts) - 1
                # Gradients are exchanged once a step, after the last part.
                with nullcontext() if is_last else self.accelerator.no_sync(self._network):
                    losses, margins = self._loss(self._network, self._planted(part, step))
                    loss = part.weight * losses.sum() / len(places)
                    self.accelerator.backward(loss * self.accelerator.num_processes)
                total += loss.detach()
                # Python's max would make 0 of no number, and a step without numbers is not a flat one.
                largest = torch.maximum(largest, margins.detach().abs().max() * part.weight)
        total, tallest = self._over_processes(total), self._over_processes(largest, "max")
        self._has_margins |= float(tallest) > 0
        self._n_flat = self._n_flat + 1 if float(tallest) == 0 and step > 0 else 0
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
        everything = cut_to_budget(pairs, range(len(pairs)), max_tokens=self._cutting.tokens_at_once)
        own = everything[self.accelerator.process_index :: self.accelerator.num_processes]
        total = torch.zeros((), device=self.accelerator.device)
        for part in own:
            planted = plant([pairs[place] for place in part], is_shared=self._cutting.is_shared)
            total += losses(planted, part).sum()
        return float(self._over_processes(total)) / len(pairs)

    def _refuse_flat(self, *, is_end: bool = False) -> None:
        """Stop where chosen and rejected always get the same reward: the score is read in the shared prompt."""
        if self._n_flat >= MOST_FLAT or (is_end and self._n_flat > 0 and not self._has_margins):
            raise TrainingFailed(
                f"all margins of {self._n_flat} steps in a row are exactly 0, so chosen and rejected are scored alike; "
                "check that the chat template shows the completion and that it is not cut off"
            )

    def _planted(self, part: _Part, step: int) -> StepPart:
        planted = plant([self._pairs[place] for place in part.places], is_shared=self._cutting.is_shared)
        self.n_tokens_run += len(planted.forest)
        return StepPart(planted, part.places, step, self._steps[step])

    def _own_parts(self, places: Sequence[int]) -> list[_Part]:
        """This process's parts of a step; where there are too few, one that counts nothing."""
        parts = cut_to_budget(self._pairs, places, max_tokens=self._cutting.tokens_at_once)
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


@dataclass(frozen=True)
class _Part:
    """Pairs of one forest; weight 0 keeps a process in step that has nothing to do."""

    places: list[int]
    weight: float = 1.0


class _Trained(torch.nn.Module):
    """The trained parameters alone, so that checkpoints leave the frozen model out."""

    def __init__(self, network: AdaptedNetwork) -> None:
        super().__init__()
        for name, parameter in network.trained():
            self.register_parameter(name.replace(".", "/"), parameter)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Dropout by seed and step alone, so that a resumed run goes on alike; the caller's draws stay as they are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
