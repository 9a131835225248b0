"""The parts of VPL: options, encoder of pairs, encoder of users, decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from personalrm.embedding.encoders import Pooling
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import BadInput
from personalrm.rewards.training import Optimization


@dataclass(frozen=True)
class LatentOptions:
    """How users become z and what that costs; the same whatever the decoder reads."""

    width: int = 128
    """H, width of the hidden layers (512 published, 1024 in SPL's setting for Llama)."""
    latent: int = 32
    """D, length of z."""
    kl_weight: float = 1e-3
    """beta, at the end of its warm-up."""
    kl_warmup_share: float = 0.3
    """Share of the optimizer steps over which beta rises from 0."""
    kl_warmup: Literal["linear", "cosine"] = "linear"
    """How it rises; it never falls again."""
    most_context: int = 8
    """Largest number of context pairs drawn in training."""
    empty_share: float = 0.1
    """Share of training contexts that are empty, so that z = 0 means the average user."""
    n_contexts: int = 4
    """Contexts drawn for each target in a step; the target is encoded once for all of them."""
    normalize_mu: bool = True
    """Scale mu to norm sqrt(D) when judging, as z is in training; the published code does not."""
    clamp: Literal["hard", "tanh"] = "hard"
    """How mu and lv are kept in [-1, 1]; a hard clamp passes no gradient outside."""
    standardize: bool = True
    """Bring the embeddings to mean 0 and spread 1 over the training pairs."""
    swap_weight: float = 0.0
    """Weight of SPL's regularizer: with chosen and rejected exchanged mu turns around and lv stays."""
    weigh_choices: bool = True
    """Count the n pairs of one choice 1 / n each in training, as on the dev users; published: each whole."""
    pooling: Pooling = "last"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "latent", "most_context", "n_contexts"):
            at_least_1(name, getattr(self, name))
        for name in ("kl_weight", "swap_weight"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"{name} must be at least 0, got {getattr(self, name)!r}")
        if not 0.0 <= self.empty_share <= 1.0:
            raise BadInput(f"empty_share must lie in [0, 1], got {self.empty_share!r}")

    def kl_share(self, step: int, n_steps: int) -> float:
        """beta at a step of so many: it rises with optimizer steps and with nothing else."""
        done = min(1.0, (step + 1) / max(1.0, self.kl_warmup_share * n_steps))
        return self.kl_weight * (done if self.kl_warmup == "linear" else 0.5 - 0.5 * math.cos(math.pi * done))


PUBLISHED_LATENT: Mapping[str, Any] = {
    "width": 512,
    "latent": 512,
    "kl_weight": 1e-4,
    "n_contexts": 8,
    "empty_share": 0.0,
    "normalize_mu": False,
    "standardize": False,
    "weigh_choices": False,
}
"""Encoder, latent and loss as published, whatever the decoder reads."""


@dataclass(frozen=True)
class VPLOptions(LatentOptions):
    """Architecture and loss of VPL."""

    batch_size: int = 64
    """Targets in a step."""
    optimization: Optimization = field(
        default_factory=lambda: Optimization(n_steps=600, learning_rate=1e-3, weight_decay=1e-3, optimizer="adamw")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_1("batch_size", self.batch_size)

    @classmethod
    def faithful(cls) -> VPLOptions:
        """As published: mu not scaled when judging, nothing standardized, every pair whole, H = D = 512."""
        optimization = Optimization(n_steps=2000, learning_rate=3e-4, weight_decay=1e-3, warmup=0.03, optimizer="adamw")
        return cls(
            **PUBLISHED_LATENT,
            batch_size=32,
            optimization=optimization,
        )


class PairEncoder(nn.Module):
    """A context pair to a vector: [e_chosen, e_rejected] -> H -> H -> D; the order is the label."""

    def __init__(self, dim: int, width: int, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * dim, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
            nn.Linear(width, latent),
        )  # fmt: skip

    def forward(self, chosen: Tensor, rejected: Tensor) -> Tensor:
        """Shapes `(..., dim)` twice to `(..., latent)`."""
        encoded: Tensor = self.layers(torch.cat([chosen, rejected], dim=-1))
        return encoded


class SetEncoder(nn.Module):
    """A user's pair vectors to mu and lv: single-head self-attention, mean over the pairs, two linear maps."""

    def __init__(self, latent: int, clamp: str) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(latent, latent) for _ in range(3))
        self.mean, self.log_variance = nn.Linear(latent, latent), nn.Linear(latent, latent)
        self._clamp = clamp

    def forward(self, vectors: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """`(users, pairs, latent)` and which are real `(users, pairs)` to mu and lv, `(users, latent)` each.

        Users without a real pair get mu = 0 and lv = 0, the prior itself.
        """
        scores = self.query(vectors) @ self.key(vectors).transpose(-1, -2) / vectors.shape[-1] ** 0.5  # (u, n, n)
        some = real.any(dim=1, keepdim=True)  # (u, 1)
        seen = real | ~some  # a row without any real pair must not become NaN; it is zeroed below
        attention = scores.masked_fill(~seen[:, None, :], -torch.inf).softmax(dim=-1)
        mixed = attention @ self.value(vectors)  # (u, n, latent)
        count = real.sum(dim=1, keepdim=True).clamp(min=1)
        pooled = (mixed * real[..., None]).sum(dim=1) / count  # (u, latent)
        return self._bounded(self.mean(pooled)) * some, self._bounded(self.log_variance(pooled)) * some

    def _bounded(self, values: Tensor) -> Tensor:
        return values.clamp(-1.0, 1.0) if self._clamp == "hard" else values.tanh()


class Decoder(nn.Module):
    """Reward of a completion for a user: [h, z] -> H -> H -> 1."""

    def __init__(self, dim: int, width: int, latent: int) -> None:
        super().__init__()
        self.of_text = nn.Linear(dim, width)
        self.of_user = nn.Linear(latent, width, bias=False)
        self.rest = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
        )  # fmt: skip

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """`(..., dim)` and `(..., latent)` to `(...)`; the first layer of [h, z] is the sum of two maps.

        So a text read under eight users' z goes through the wide first map once.
        """
        rewards: Tensor = self.rest(self.of_text(h) + self.of_user(z))
        return rewards.squeeze(-1)


class VPLModule(nn.Module):
    """All trained parameters, and the means and spreads that standardize embeddings.

    Args:
        dim: Of the embeddings of context pairs.
        options: Widths.
        text_dim: Of what the decoder reads, where that is something else.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int, options: LatentOptions, text_dim: int | None = None) -> None:
        super().__init__()
        self.pairs = PairEncoder(dim, options.width, options.latent)
        self.users = SetEncoder(options.latent, options.clamp)
        self.decoder = Decoder(text_dim or dim, options.width, options.latent)
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def posterior(self, chosen: Tensor, rejected: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """mu and lv of users, `(users, latent)`, from their pairs `(users, pairs, dim)`."""
        return self.users(self.pairs(self.standard(chosen), self.standard(rejected)), real)  # type: ignore[no-any-return]

    def reward(self, h: Tensor, z: Tensor) -> Tensor:
        """Rewards of embeddings `(..., dim)` under `z`, `(..., latent)`."""
        return self.decoder(self.standard(h), z)  # type: ignore[no-any-return]

    def standard(self, e: Tensor) -> Tensor:
        """Embeddings with mean 0 and spread 1."""
        return (e - self.shift) / self.scale


def at_least_1(name: str, value: int) -> None:
    """Refuse counts that mean nothing.

    Raises:
        BadInput: If the value is below 1.
    """
    if value < 1:
        raise BadInput(f"{name} must be at least 1, got {value!r}")


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, exp(lv)) || N(0, I)) of each user, shape `(users,)`: 0.5 sum(mu^2 + exp(lv) - 1 - lv)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(dim=-1)


def to_norm(z: Tensor) -> Tensor:
    """z scaled to norm sqrt(D); zero stays zero, the average user."""
    norm = z.norm(dim=-1, keepdim=True)
    return torch.where(norm > 0, z * (z.shape[-1] ** 0.5) / norm.clamp(min=1e-12), z)


def make_vpl_module(dim: int, options: VPLOptions) -> VPLModule:
    """The module with parameters drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return VPLModule(dim, options)
