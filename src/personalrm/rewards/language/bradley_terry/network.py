"""A language model with a reward head: LoRA on the model, one linear map on the closing token's state.

The head is ours and in fp32, outside of what an adapter holds. It starts at zero: every
reward is 0, the first step is well defined, and two seeds differ by the LoRA alone. Trained
with -log sigmoid(r_c - r_r) of each pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput
from personalrm.rewards.language.bradley_terry.adapter_soups import A, Adapter, B
from personalrm.rewards.language.forests.attention import run_forest
from personalrm.rewards.language.forests.closing_states import closing_states
from personalrm.rewards.language.forests.forest import Forest
from personalrm.rewards.language.forests.pair_batches import PairForest
from personalrm.rewards.language.lora import AdaptedNetwork, Holding, Lora, open_adapted
from personalrm.rewards.language.pair_training import StepOptions

HeadStart = Literal["zero", "normal"]
HEAD = "head.weight"


@dataclass(frozen=True)
class NetworkOptions(Holding):
    """How the language model is held and run, and how its head starts."""

    head_start: HeadStart = "zero"
    """`zero`, or `normal` with variance 1 / width."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_start not in get_args(HeadStart):
            raise BadInput(f"unknown head_start {self.head_start!r}; use one of {', '.join(get_args(HeadStart))}")


@dataclass(frozen=True)
class BradleyTerryOptions(StepOptions):
    """How a Bradley-Terry model is trained (paper, Table 6; what the table lacks is said in docs/paper.md)."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    centering: float = 0.0
    """Weight of (r_c + r_r)^2, which keeps rewards near 0; no part of the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.centering) and self.centering >= 0):
            raise BadInput(f"centering must be at least 0, got {self.centering!r}")


class RewardNetwork(AdaptedNetwork):
    """Rewards of the sequences of a forest.

    Args:
        backbone: A decoder without head, with LoRA.
        width: Of its hidden states.
    """

    def __init__(self, backbone: Any, width: int) -> None:
        super().__init__(backbone)
        self.head = torch.nn.Linear(width, 1, bias=False, dtype=torch.float32)

    def forward(self, forest: Forest) -> torch.Tensor:
        """Rewards, shape `(sequences,)`, fp32."""
        states, _ = run_forest(self.decoder, forest)
        return self.rewards(closing_states(states, forest))

    def rewards(self, states: torch.Tensor) -> torch.Tensor:
        """Rewards `(sequences,)` from the closing tokens' states `(sequences, width)`."""
        with torch.autocast(states.device.type, enabled=False):
            # No matrix product: its last bits depend on a row's place, and a swapped pair must flip its margin exactly.
            rewards: torch.Tensor = (states * self.head.weight).sum(dim=-1)
        return rewards


def open_network(path: str, lora: Lora, *, seed: int, options: NetworkOptions) -> RewardNetwork:
    """The network with fresh LoRA and head, in evaluation mode; equal seeds give equal networks.

    Args:
        path: A saved model, as transformers loads it.
        lora: What is trained.
        seed: Of LoRA's and the head's start.
        options: Precision, attention, start of the head.

    Raises:
        BadInput: If the model cannot be loaded, or has no layers of the names LoRA targets.
        MissingExtra: If transformers or PEFT is not installed.
    """

    def make(backbone: Any, width: int) -> RewardNetwork:
        network = RewardNetwork(backbone, width)
        if options.head_start == "zero":
            torch.nn.init.zeros_(network.head.weight)
        else:
            torch.nn.init.normal_(network.head.weight, std=width**-0.5)
        return network

    return open_adapted(path, lora, options, seed=seed, make=make)


def pair_losses(
    network: Callable[[Any], torch.Tensor], planted: PairForest, centering: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and margins, shape `(pairs,)` each."""
    rewards = network(planted.forest)  # (sequences,)
    chosen = rewards[torch.from_numpy(planted.chosen).to(rewards.device)]
    rejected = rewards[torch.from_numpy(planted.rejected).to(rewards.device)]
    losses = -torch.nn.functional.logsigmoid(chosen - rejected) + centering * (chosen + rejected) ** 2
    return losses, chosen - rejected


def wear(network: RewardNetwork, adapter: Adapter) -> None:
    """Put an adapter of any rank in place of the present one; the base model is loaded once for all of them.

    Raises:
        BadInput: If it changes other layers than this network's.
    """
    layers = {name: module for name, module in network.backbone.named_modules() if hasattr(module, "lora_A")}
    if sorted(layers) != sorted(adapter.layers):
        raise BadInput(
            f"an adapter of {len(adapter.layers)} layers does not fit the {len(layers)} of this model; use one of it"
        )
    with torch.no_grad():
        for name, layer in layers.items():
            for factors, ending in ((layer.lora_A, A), (layer.lora_B, B)):
                held = factors["default"].weight
                held.data = torch.from_numpy(adapter.arrays[name + ending].copy()).to(held.device, held.dtype)
            layer.r["default"], layer.lora_alpha["default"] = adapter.rank, adapter.alpha
            layer.scaling["default"] = adapter.scaling
        network.head.weight.copy_(torch.from_numpy(adapter.arrays[HEAD].copy()))
