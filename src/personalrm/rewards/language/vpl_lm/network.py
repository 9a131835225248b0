"""VPL over a language model: LoRA on the model, its closing token's state into VPL's decoder.

Context pairs come as frozen embeddings, so only the target's sequences run through the
model, once each, however many contexts they are decoded with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import BadInput
from personalrm.rewards.heads.vpl.contexts import DrawnVectors, Latents, encode
from personalrm.rewards.heads.vpl.network import PUBLISHED_LATENT, LatentOptions, VPLModule
from personalrm.rewards.language.forests.attention import run_forest
from personalrm.rewards.language.forests.closing_states import closing_states
from personalrm.rewards.language.forests.pair_batches import PairForest
from personalrm.rewards.language.lora import AdaptedNetwork, Holding, Lora, open_adapted
from personalrm.rewards.language.pair_training import StepOptions
from personalrm.rewards.training import Optimization

PROJECTION_SCALE = 0.01
"""By which the published code scales the random head that stands for h(s)."""


@dataclass(frozen=True)
class LanguageVPLOptions(LatentOptions, StepOptions):
    """Architecture, loss and training of VPL over a language model."""

    n_contexts: int = 8
    """Contexts drawn for each target in a step; the target goes through the model once for all of them."""
    epochs: int = 2
    network: Holding = field(default_factory=Holding)
    projection: bool = False
    """Read a trained projection of the closing token's state, as published, instead of the state itself (SPL)."""
    head_learning_rate: float = 1e-3
    """Of encoder and decoder, which start from nothing."""
    weight_decay: float = 1e-3
    warmup: float = 0.03
    """Share of the steps over which the rates rise from 0."""

    def __post_init__(self) -> None:
        LatentOptions.__post_init__(self)
        StepOptions.__post_init__(self)
        if not (math.isfinite(self.head_learning_rate) and self.head_learning_rate > 0):
            raise BadInput(f"head_learning_rate must be a positive number, got {self.head_learning_rate!r}")

    @classmethod
    def faithful(cls) -> LanguageVPLOptions:
        """As published: rank 128, H = D = 512, one rate, a projection, eight contexts, mu not scaled when judging."""
        return cls(
            **PUBLISHED_LATENT,
            lora=Lora(128, 256.0, dropout=0.1),
            projection=True,
            max_tokens=1024,
            pairs_a_step=32,
            learning_rate=3e-4,
            head_learning_rate=3e-4,
            sharing="pair",
        )

    def optimization(self, n_steps: int) -> Optimization:
        """AdamW, cosine to 0 after the warm-up, gradient clipped at 1."""
        usual = super().optimization(n_steps)
        return replace(usual, schedule="cosine", weight_decay=self.weight_decay, warmup=self.warmup)


class LanguageVPLNetwork(AdaptedNetwork):
    """Rewards of the pairs of a forest under drawn z.

    Args:
        backbone: A decoder without head, with LoRA.
        width: Of its hidden states.
        dim: Of the embeddings of context pairs.
        options: Widths, projection, regularizer.
    """

    def __init__(self, backbone: Any, width: int, dim: int, options: LanguageVPLOptions) -> None:
        super().__init__(backbone)
        self.projection = nn.Linear(width, width, bias=False) if options.projection else nn.Identity()
        if options.projection:
            spread = float(getattr(self.decoder.config, "initializer_range", 0.02))
            nn.init.normal_(self.projection.weight, std=PROJECTION_SCALE * spread)  # type: ignore[arg-type]
        self.heads = VPLModule(dim, options, text_dim=width)
        self._is_swapped = options.swap_weight > 0

    def forward(self, planted: PairForest, given: DrawnVectors) -> tuple[Tensor, Latents]:
        """Margins `(pairs, contexts)`, fp32, and what z costs."""
        states, _ = run_forest(self.decoder, planted.forest)
        h = closing_states(states, planted.forest)  # (sequences, width)
        with torch.autocast(h.device.type, enabled=False):
            latents = encode(self.heads, given.to(h.device), is_swapped=self._is_swapped)
            return self.margins(h, planted, latents.z), latents

    def margins(self, h: Tensor, planted: PairForest, z: Tensor) -> Tensor:
        """reward(chosen) - reward(rejected) of each pair, `(pairs, contexts)`, under z `(pairs, contexts, latent)`."""
        chosen, rejected = (torch.from_numpy(places).to(h.device) for places in (planted.chosen, planted.rejected))
        return self.rewards(h[chosen][:, None], z) - self.rewards(h[rejected][:, None], z)

    def rewards(self, h: Tensor, z: Tensor) -> Tensor:
        """Rewards `(...)` of closing tokens' states `(..., width)` under z `(..., latent)`."""
        rewards: Tensor = self.heads.decoder(self.projection(h), z)
        return rewards


def open_vpl_network(path: str, dim: int, options: LanguageVPLOptions) -> LanguageVPLNetwork:
    """The network with fresh LoRA, encoder and decoder, in evaluation mode; equal seeds give equal networks.

    Args:
        path: A saved model, as transformers loads it.
        dim: Of the embeddings of context pairs.
        options: What is trained, and the seed.

    Raises:
        BadInput: If the model cannot be loaded, or has no layers of the names LoRA targets.
        MissingExtra: If transformers or PEFT is not installed.
    """

    def make(backbone: Any, width: int) -> LanguageVPLNetwork:
        return LanguageVPLNetwork(backbone, width, dim, options)

    return open_adapted(path, options.lora, options.network, seed=options.seed, make=make)
