"""The parts of PAL: projectors, prototypes, mixing weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from personalrm.embedding.encoders import Pooling
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import BadInput
from personalrm.rewards.training import Group, Optimization

COSINE_SCALE = 1.0 / 0.07
"""Fixed scale of the cosine similarity: the paper turned the learnable temperature off."""


@dataclass(frozen=True)
class PALOptions:
    """Geometry and training of PAL."""

    n_prototypes: int = 2
    """K; 1 is the same reward for everybody."""
    variant: Literal["b", "a"] = "b"
    """b: prototypes are functions of the prompt (the paper's appendix B); a: free vectors (its text A.4)."""
    item_has_prompt: bool = True
    """Whether f reads a completion behind its conversation, or alone, as the original of variant b does."""
    similarity: Literal["dot", "cosine"] = "dot"
    """dot is scaled by 1 / sqrt(d), cosine by `COSINE_SCALE`."""
    width: int | None = None
    """d, length of projected items and prototypes; the embedding's own where None."""
    projector: Literal["mlp", "linear", "identity"] = "mlp"
    """mlp: three linear maps with GELU between, as published."""
    logit_rate: float = 5e-3
    """Learning rate of mixing logits and free prototypes."""
    logit_penalty: float = 1e-3
    """Pull of each training user's logits towards the mean of all."""
    strength: float = 1.0
    """Pull of the average user on a new one; chosen on the dev users where there are any."""
    average: Literal["trained", "uniform"] = "trained"
    """The average user: mean logits of the training users, or all prototypes equally."""
    new_user: Literal["solved", "published"] = "solved"
    """How a new user's mixture is found: the minimum of loss and pull, or the published 20 epochs of AdamW at 5e-3 from
    random logits, without a pull; a user without pairs is the average one either way."""
    weigh_choices: bool = True
    """Count the n pairs of one choice 1 / n each in training, as on the dev users; published: each whole."""
    standardize: bool = True
    """Bring the embeddings to mean 0 and spread 1 over the training pairs."""
    pooling: Pooling = "last"
    batch_size: int = 64
    seed: int = 0
    optimization: Optimization = field(
        default_factory=lambda: Optimization(n_steps=600, learning_rate=1e-3, weight_decay=0.01, optimizer="adamw")
    )

    def __post_init__(self) -> None:
        counts = {"n_prototypes": self.n_prototypes, "width": self.width, "batch_size": self.batch_size}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise BadInput(f"{name} must be at least 1, got {value!r}")
        for name in ("logit_rate", "logit_penalty", "strength"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise BadInput(f"{name} must be at least 0, got {getattr(self, name)!r}")

    @classmethod
    def faithful(cls) -> PALOptions:
        """As published: K = 2, prompt-dependent prototypes, d = E, completions without their prompt.

        Every pair counts whole; nothing is standardized or pulled. Not as published: training users start as equal
        mixtures, where the code draws them, and a new user without pairs is the uniform mixture, where it has none.
        """
        optimization = Optimization(n_steps=2000, learning_rate=1e-4, weight_decay=0.01, optimizer="adam")
        return cls(
            item_has_prompt=False,
            standardize=False,
            logit_penalty=0.0,
            average="uniform",
            new_user="published",
            weigh_choices=False,
            batch_size=4,
            optimization=optimization,
        )


class Projectors(nn.Module):
    """Several MLPs of one shape, applied by one grouped matrix product: `(n, dim)` to `(n, projectors, width)`."""

    def __init__(self, n_projectors: int, dim: int, width: int, kind: str) -> None:
        super().__init__()
        sizes = {"mlp": [dim, width, width, width], "linear": [dim, width], "identity": []}[kind]
        shapes = list(pairwise(sizes))
        self.n_projectors = n_projectors
        self.weights = nn.ParameterList([_drawn(n_projectors, a, b, a) for a, b in shapes])
        self.biases = nn.ParameterList([_drawn(n_projectors, 1, b, a) for a, b in shapes])

    def forward(self, x: Tensor) -> Tensor:
        """All projections of each vector."""
        y = x[None].expand(self.n_projectors, -1, -1)  # (projectors, n, dim)
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            y = torch.baddbmm(bias, nn.functional.gelu(y) if place else y, weight)
        return y.transpose(0, 1)


def _drawn(n: int, n_in: int, n_out: int, fan_in: int) -> nn.Parameter:
    """Uniform within 1 / sqrt(fan_in), as torch's own linear layers start."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(n, n_in, n_out).uniform_(-bound, bound))


class PALModule(nn.Module):
    """Everything trained: item projector f, prototypes, logits of the training users."""

    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int, n_users: int, options: PALOptions) -> None:
        super().__init__()
        width = dim if options.projector == "identity" else options.width or dim
        self.options = options
        self.items = Projectors(1, dim, width, options.projector)
        k, is_free = options.n_prototypes, options.variant == "a"
        self.of_prompt = None if is_free else Projectors(k, dim, width, options.projector)
        self.prototypes = nn.Parameter(torch.randn(k, width) if is_free else torch.zeros(0))
        # All users start as equal mixtures: the published random start gives a new user an arbitrary taste.
        self.logits = nn.Parameter(torch.zeros(n_users, options.n_prototypes))
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def groups(self) -> list[Group]:
        """Parameters with their rates: projectors that of the training, logits and prototypes their own."""
        optimization, options = self.options.optimization, self.options
        own = [self.logits, self.prototypes]
        names = {id(parameter) for parameter in own}
        projectors = [parameter for parameter in self.parameters() if id(parameter) not in names]
        groups = [Group(own, options.logit_rate)]
        return groups + (
            [Group(projectors, optimization.learning_rate, optimization.weight_decay)] if projectors else []
        )

    def item(self, e: Tensor) -> Tensor:
        """f of embeddings `(n, dim)`, shape `(n, width)`."""
        projected: Tensor = self.items((e - self.shift) / self.scale)
        return projected[:, 0]

    def ideals(self, prompts: Tensor | None, n: int) -> Tensor:
        """The prototypes as each of n prompts `(n, dim)` sees them, shape `(n, prototypes, width)`."""
        if self.of_prompt is None or prompts is None:
            return self.prototypes[None].expand(n, -1, -1)
        seen: Tensor = self.of_prompt((prompts - self.shift) / self.scale)
        return seen

    def rewards(self, f: Tensor, ideals: Tensor, p: Tensor) -> Tensor:
        """Similarity of items `(n, width)` with the ideal points that `p` `(n, prototypes)` mixes; shape `(n,)`."""
        ideal = torch.einsum("nk,nkd->nd", p, ideals)
        if self.options.similarity == "dot":
            return (f * ideal).sum(dim=-1) / math.sqrt(f.shape[-1])
        return nn.functional.cosine_similarity(f, ideal, dim=-1) * COSINE_SCALE

    def margins_by_prototype(self, chosen: Tensor, rejected: Tensor, prompts: Tensor | None) -> Tensor:
        """a_ik = <f(chosen) - f(rejected), g_k(prompt)> / sqrt(d) of pairs, shape `(n, prototypes)` (dot only)."""
        apart = self.item(chosen) - self.item(rejected)
        return torch.einsum("nd,nkd->nk", apart, self.ideals(prompts, len(apart))) / math.sqrt(apart.shape[-1])


def make_pal_module(dim: int, n_users: int, options: PALOptions) -> PALModule:
    """The module with parameters drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return PALModule(dim, n_users, options)
