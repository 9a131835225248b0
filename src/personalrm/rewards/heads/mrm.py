"""MRM: bases and a starting point from which a user's few pairs lead somewhere in a few steps.

Linear base rewards V on frozen embeddings, mixed by p = softmax(l). The average user's
logits and V are meta-learned: for each user of a step, part of their pairs adapts l by a
few gradient steps, the rest is the loss, and the outer gradient goes through the
adaptation (MAML). The outer loss leans on the users it serves worst.
Up to `full_pairs` pairs each adds its whole gradient; of more, the mean counts as so many, or
a user of thousands would be thrown onto one basis by steps far longer than their loss is curved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput
from personalrm.rewards.heads.bases import LowRankOptions, fit_bases, squared
from personalrm.rewards.heads.gpo.episodes import EpisodeSizes, Pool, in_order
from personalrm.rewards.heads.low_rank import Bases, DevRows, LowRank
from personalrm.rewards.heads.pair_table import PairTable
from personalrm.rewards.training import Curve, Optimization, train_head
from personalrm.stats.arrays import FloatArray

PULLS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
"""What the pull of the average user may be when a user is adapted, chosen by loss on the dev users."""


@dataclass(frozen=True)
class MRMOptions(LowRankOptions):
    """Settings of `MRM`; the published code takes one inner Adam step of 1e-3, which hardly moves."""

    n_inner_steps: int = 5
    inner_rate: float = 0.5
    """Of the inner gradient steps on the summed loss of the pairs: more pairs lead farther, up to `full_pairs`."""
    full_pairs: float = 32.0
    """Pairs beyond which more of them say where to go, not how far."""
    pull: float = 0.0
    """Of the average user in the inner steps of training, and in a user's where no dev users choose one."""
    tail: float = 0.5
    """Share of a step's users that count as served worst."""
    gamma: float = 0.5
    """Weight of those users' own mean beside everybody's."""
    sampling: EpisodeSizes = field(default_factory=lambda: EpisodeSizes(empty_share=0.1))
    optimization: Optimization = field(default_factory=lambda: Optimization(n_steps=500, learning_rate=1e-3))
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.tail <= 1 and 0 <= self.gamma <= 1 and self.n_inner_steps >= 1 and self.inner_rate > 0):
            raise BadInput(
                f"tail must lie in (0, 1], gamma in [0, 1], inner steps and rate be positive, got {self.tail!r}, "
                f"{self.gamma!r}, {self.n_inner_steps!r}, {self.inner_rate!r}"
            )
        if not (self.full_pairs >= 1 and 0 <= self.pull < math.inf):
            raise BadInput(f"full_pairs must be at least 1 and pull at least 0, got {self.full_pairs!r}, {self.pull!r}")


class MRM(LowRank):
    """Meta-learned bases; a user is a few gradient steps away from the average.

    Args:
        store: Where the embeddings are.
        options: Bases, inner and outer steps.
        checkpoint: File to keep a training in and to go on from.
    """

    name = "mrm"
    options_type = MRMOptions
    strengths = PULLS

    def __init__(
        self, store: EmbeddingStore, options: LowRankOptions | None = None, *, checkpoint: Path | None = None
    ) -> None:
        super().__init__(store, options)
        self.checkpoint = checkpoint
        self.curve = Curve()

    @property
    def first_strength(self) -> float:
        """The pull of the average user where no dev users choose one."""
        return self._options().pull

    def learn(self, rows: FloatArray, table: PairTable, dev: DevRows | None) -> tuple[FloatArray, FloatArray]:
        """Bases and the average user's logits, meta-learned from low-rank bases on; dev users end it in time."""
        options = self._options()
        bases, logits = fit_bases(rows, table, options)
        pool = Pool.of(table, rows[:, None].astype(np.float32), "cpu")
        module = _Start(bases, logits.mean(axis=0))
        self.curve = train_head(
            self,
            module,
            lambda _, generator: outer_loss(module, pool, options, generator),
            table.hashes,
            dev=None if dev is None else lambda: self._look(module, dev),
        )
        return module.arrays()

    def mix(self, margins: Sequence[FloatArray], weights: Sequence[FloatArray], learned: Bases) -> FloatArray:
        """Weights after the inner steps, all users at once."""
        options, most = replace(self._options(), pull=learned.strength), max(len(of_user) for of_user in margins)
        a = torch.zeros(len(margins), most, learned.bases.shape[1], dtype=torch.float64)
        c = torch.zeros(len(margins), most, dtype=torch.float64)
        for place, (of_user, counts) in enumerate(zip(margins, weights, strict=True)):
            a[place, : len(of_user)], c[place, : len(of_user)] = torch.as_tensor(of_user), torch.as_tensor(counts)
        logits = adapt(torch.as_tensor(learned.prior), a, c, options)
        return np.asarray(torch.softmax(logits, dim=1).numpy())

    def _look(self, module: _Start, dev: DevRows) -> float:
        """Loss of the dev users' targets after their adaptation from where the outer steps have come."""
        bases, prior = module.arrays()
        now = Bases(bases, np.ones(len(bases)), prior, self.first_strength)
        return dev.loss(bases, self.mix(dev.context.margins(bases), dev.context.each(), now))

    def _options(self) -> MRMOptions:
        return self.options if isinstance(self.options, MRMOptions) else MRMOptions()


class _Start(torch.nn.Module):
    """What the outer steps move."""

    def __init__(self, bases: FloatArray, logits: FloatArray) -> None:
        super().__init__()
        self.bases = torch.nn.Parameter(torch.as_tensor(bases, dtype=torch.float32))
        self.logits = torch.nn.Parameter(torch.as_tensor(logits, dtype=torch.float32))

    def arrays(self) -> tuple[FloatArray, FloatArray]:
        """Bases, `(dim, bases)`, and logits, `(bases,)`, in fp64."""
        return self.bases.detach().double().numpy(), self.logits.detach().double().numpy()


def adapt(start: torch.Tensor, margins: torch.Tensor, weights: torch.Tensor, options: MRMOptions) -> torch.Tensor:
    """Logits of each user after the inner steps, `(users, bases)`; differentiable in all it is given.

    A step goes down the pairs' loss and then, by the closed form of a proximal step, towards the start; with
    a pull of 0 the second half is nothing, and it is stable at any pull.

    Args:
        start: The average user's logits, `(bases,)`.
        margins: Under each basis, `(users, pairs, bases)`.
        weights: 0 where padded, `(users, pairs)`.
        options: Inner steps, rate, pull.
    """
    logits = start.expand(len(margins), -1)
    rate = options.inner_rate / (weights.sum(dim=1, keepdim=True) / options.full_pairs).clamp(min=1.0)  # (users, 1)
    drag = rate * options.pull
    for _ in range(options.n_inner_steps):
        p = torch.softmax(logits, dim=1)
        m = torch.einsum("unk,uk->un", margins, p)
        slope = -weights * torch.sigmoid(-m)
        pulled = torch.einsum("un,unk->uk", slope, margins)
        stepped = logits - rate * p * (pulled - (p * pulled).sum(dim=1, keepdim=True))
        logits = (stepped + drag * start) / (1.0 + drag)
    return logits


def outer_loss(module: _Start, pool: Pool, options: MRMOptions, generator: torch.Generator) -> torch.Tensor:
    """Loss of drawn users after their adaptation, leaning on the worst, with the priors of the bases."""
    one = pool.draw(options.sampling, generator)
    # An episode shows its context in random orders; turned back, the chosen completion is always first.
    context = in_order(one.context[:, :, None], one.second) @ module.bases
    logits = adapt(module.logits, context, one.context_weight, options)
    margins = torch.einsum("utk,uk->ut", one.targets[:, :, 0] @ module.bases, torch.softmax(logits, dim=1))
    totals = one.weight.sum(dim=1)
    losses = (torch.nn.functional.softplus(-margins) * one.weight).sum(dim=1) / totals.clamp(min=1e-9)
    losses = losses[totals > 0]
    if not len(losses):  # nobody drawn has a target; a loss without users is not a loss, but it must have a gradient
        return 0.0 * squared(module.bases)
    worst = losses.topk(math.ceil(options.tail * len(losses))).values.mean()
    robust: torch.Tensor = (1.0 - options.gamma) * losses.mean() + options.gamma * worst
    center = module.bases.mean(dim=1, keepdim=True)
    pulls = options.ridge * squared(center) + options.spread * squared(module.bases - center) / options.n_bases
    return robust + 0.5 * len(module.bases) * pulls / float(pool.weight.sum())
