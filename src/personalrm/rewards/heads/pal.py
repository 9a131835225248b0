"""Pluralistic alignment (Chen et al. 2024; the paper's section 5.1, appendices A.4 and B).

A user is a convex combination of K prototypes: with p_u = softmax(W_u) the reward of a
completion is the similarity of its projection f(x) with the ideal point sum_k p_uk g_k,
where the g_k are functions of the prompt (variant b) or free vectors (variant a).
Trained jointly for all users by Bradley-Terry on the difference. A new user fits p alone,
everything else frozen; with the dot product that is a small problem on the simplex, solved
for all new users at once.

With the dot product the margin is linear in p and the shared simplex solver does it. The
cosine divides by the length of the mixed ideal point, so there the same objective is
stepped by Adam on the padded batch, each user apart and therefore equal to one user at a time.
The published fit is neither: a fixed number of small steps from random logits, so that its
result is mostly where it began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np

from personalrm.embedding.encoders import Pooling
from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.gathering import (
    ContextBatch,
    Contexts,
    DevPairs,
    gather_contexts,
    gather_dev,
    gather_items,
    gather_pairs,
    pair_weights,
)
from personalrm.rewards.heads.pair_table import PairTexts, make_pair_table
from personalrm.rewards.heads.simplex import LEAST_STRENGTH, fit_simplex, softmax
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, fitted
from personalrm.rewards.saving import open_head, restore_module, save_head, saved_part
from personalrm.rewards.training import Curve, Group, Optimization, train_head
from personalrm.stats.arrays import FloatArray

COSINE_SCALE = 1.0 / 0.07
"""Fixed scale of the cosine similarity: the paper turned the learnable temperature off."""
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""What the pull of the average user may be, chosen by loss on the dev users where there are any."""
N_STEPS = 300
RATE = 0.1
PUBLISHED_RATE, PUBLISHED_EPOCHS = 5e-3, 20
PUBLISHED_DECAY, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8
"""torch's own for AdamW; the published code does not set them."""


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

    def read(self, chosen: Tensor, rejected: Tensor, prompts: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """f of both completions of n pairs, `(n, width)` each, and the prototypes as their prompts see them."""
        return self.item(chosen), self.item(rejected), self.ideals(prompts, len(chosen))

    def rewards(self, f: Tensor, ideals: Tensor, p: Tensor) -> Tensor:
        """Similarity of items `(n, width)` with the ideal points that `p` `(n, prototypes)` mixes; shape `(n,)`."""
        ideal = torch.einsum("nk,nkd->nd", p, ideals)
        if self.options.similarity == "dot":
            return (f * ideal).sum(dim=-1) / math.sqrt(f.shape[-1])
        return nn.functional.cosine_similarity(f, ideal, dim=-1) * COSINE_SCALE


def make_pal_module(dim: int, n_users: int, options: PALOptions) -> PALModule:
    """The module with parameters drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return PALModule(dim, n_users, options)


def fit_mixtures(module: PALModule, contexts: ContextBatch, *, average: FloatArray, strength: float) -> FloatArray:
    """p of each user, shape `(users, prototypes)`; the average user's where there is no pair.

    Args:
        module: A trained PAL; it is not changed.
        contexts: Padded context pairs.
        average: Logits of the average user, shape `(prototypes,)`.
        strength: Pull of the average user, at least 0.
    """
    users, most = contexts.real.shape
    if not most:
        return np.tile(softmax(average), (users, 1))
    if module.options.new_user == "published":
        return _as_published(module, contexts, average)
    if module.options.similarity == "cosine":
        return _by_steps(module, contexts, average, strength)
    won, lost, ideals = module.read(*contexts.flat())
    a = torch.einsum("nd,nkd->nk", won - lost, ideals) / math.sqrt(won.shape[-1])  # the margin under each prototype
    margins = list(a.double().view(users, most, -1).numpy())
    weights = list(contexts.weight.double().numpy())
    return fit_simplex(margins, weights=weights, prior=average, strength=strength).weights


def _by_steps(module: PALModule, contexts: ContextBatch, average: FloatArray, strength: float) -> FloatArray:
    """Adam from the average user's logits, on margins d_i . p / sqrt(p G_i p) whose d and G are computed once."""
    shape = (*contexts.real.shape, len(average))
    with torch.no_grad():
        won, lost, ideals = module.read(*contexts.flat())
        apart = nn.functional.normalize(won, dim=-1) - nn.functional.normalize(lost, dim=-1)
        d = COSINE_SCALE * torch.einsum("nd,nkd->nk", apart, ideals).double().view(shape).numpy()
        products = torch.einsum("nkd,njd->nkj", ideals, ideals).double().view(*shape, -1).numpy()
    weight, pull = contexts.weight.double().numpy(), strength + LEAST_STRENGTH
    logits = np.tile(average, (len(weight), 1))
    first, second = np.zeros_like(logits), np.zeros_like(logits)
    for step in range(1, N_STEPS + 1):
        p = softmax(logits)
        mixed = np.einsum("unkj,uj->unk", products, p)
        square = np.maximum(np.einsum("unk,uk->un", mixed, p), EPSILON**2)[..., None]  # |ideal point|^2
        m = np.einsum("unk,uk->un", d, p)[..., None] / np.sqrt(square)
        wrong = 0.5 * (1.0 - np.tanh(0.5 * m[..., 0]))  # sigmoid(-m) without overflow
        jacobian = d / np.sqrt(square) - m * mixed / square  # dm_i / dp, (users, pairs, prototypes)
        slope = p * np.einsum("un,unk->uk", -weight * wrong, jacobian)
        slope += pull * (logits - average) - p * slope.sum(axis=1, keepdims=True)
        first, second = BETAS[0] * first + (1 - BETAS[0]) * slope, BETAS[1] * second + (1 - BETAS[1]) * slope**2
        way = first / (1 - BETAS[0] ** step) / (np.sqrt(second / (1 - BETAS[1] ** step)) + EPSILON)
        logits = logits - RATE * way
    return softmax(logits)


def _as_published(module: PALModule, contexts: ContextBatch, average: FloatArray) -> FloatArray:
    """AdamW over each user's pairs in time order, batch by batch; one random start for all, drawn from the seed."""
    margins, real = margins_of(module, contexts), contexts.real
    generator, size = torch.Generator().manual_seed(module.options.seed), module.options.batch_size
    logits = torch.randn(len(average), generator=generator).repeat(len(real), 1)
    first, second, steps = torch.zeros_like(logits), torch.zeros_like(logits), torch.zeros(len(real), 1)
    for start in [*range(0, real.shape[1], size)] * PUBLISHED_EPOCHS:
        seen = torch.zeros_like(real)
        seen[:, start : start + size] = real[:, start : start + size]
        some = seen.any(dim=1, keepdim=True)  # who has run out of pairs waits for the next epoch
        with torch.enable_grad():
            moved = logits.clone().requires_grad_()
            losses = nn.functional.softplus(-margins(moved.softmax(dim=-1))) * seen
            (slope,) = torch.autograd.grad((losses.sum(dim=1) / seen.sum(dim=1).clamp(min=1)).sum(), [moved])
        steps += some
        first = torch.where(some, BETAS[0] * first + (1 - BETAS[0]) * slope, first)
        second = torch.where(some, BETAS[1] * second + (1 - BETAS[1]) * slope**2, second)
        way = first / (1 - BETAS[0] ** steps) / ((second / (1 - BETAS[1] ** steps)).sqrt() + EPSILON)
        logits = torch.where(some, (1 - PUBLISHED_RATE * PUBLISHED_DECAY) * logits - PUBLISHED_RATE * way, logits)
    p = softmax(logits.double().numpy())
    return np.where(real.any(dim=1, keepdim=True).numpy(), p, softmax(average))


def margins_of(module: PALModule, pairs: ContextBatch) -> Callable[[Tensor], Tensor]:
    """Margins `(users, pairs)` as a function of p `(users, prototypes)`, everything else computed once."""
    with torch.no_grad():
        won, lost, ideals = module.read(*pairs.flat())

    def margins(p: Tensor) -> Tensor:
        each = p.repeat_interleave(pairs.real.shape[1], dim=0)
        return (module.rewards(won, ideals, each) - module.rewards(lost, ideals, each)).view(pairs.real.shape)

    return margins


@dataclass(frozen=True, repr=False)
class PALState:
    """What PAL knows of a user."""

    weights: FloatArray
    """p, shape `(prototypes,)`, on the simplex."""


class PAL(RewardModel[PALState]):
    """PAL on cached embeddings; the constructor stores what it is given.

    Args:
        store: Where the vectors are and where missing ones are put.
        options: Geometry and training.
        checkpoint: File to keep a training in and to go on from.
    """

    name = "pal"
    options_type = PALOptions

    def __init__(
        self, store: EmbeddingStore, options: PALOptions | None = None, *, checkpoint: Path | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.store, self.options = store, options or PALOptions()
        self.curve: Curve | None = None
        self.strength = self.options.strength
        self.trained_users: tuple[str, ...] = ()
        self._module: PALModule | None = None

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train projectors, prototypes and the training users' mixtures; dev users stop it and choose the pull.

        Raises:
            BadInput: If there are no pairs.
            TrainingFailed: If the loss stays no number.
        """
        options = self.options
        table = make_pair_table(pairs, self.store, reading=self.reading)
        data = gather_pairs(table, self.store, options.pooling)
        module = make_pal_module(self.store.encoder.dim, table.n_users, options)
        if options.standardize:
            data.standardize(module)
        self._module, self.trained_users, self.strength = module, table.user_ids, options.strength
        user, weight = torch.from_numpy(table.user), pair_weights(table, by_choice=options.weigh_choices)
        watched = gather_dev(dev, self.store, options.pooling, reading=self.reading)

        def loss(_: int, generator: torch.Generator) -> Tensor:
            some = torch.randperm(len(table), generator=generator)[: options.batch_size]
            won, lost, ideals = module.read(*data.take(some))
            p = module.logits[user[some]].softmax(dim=-1)
            margin = module.rewards(won, ideals, p) - module.rewards(lost, ideals, p)
            apart = module.logits - module.logits.mean(dim=0)
            fit = (weight[some] * nn.functional.softplus(-margin)).mean()
            return fit + options.logit_penalty * (apart**2).sum(dim=1).mean()

        look = None if watched is None else lambda: self._dev_loss(watched, options.strength)
        self.curve = train_head(self, module, loss, table.hashes, dev=look, groups=module.groups())
        if watched is not None and options.n_prototypes > 1 and options.new_user == "solved":
            self.strength = min(STRENGTHS, key=lambda strength: self._dev_loss(watched, strength))
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[PALState]:
        """The mixture of each user, all in one solve; the average user's without context."""
        self._fitted()
        if not contexts:
            return []
        return [PALState(weights) for weights in self._mixtures(self._gather(contexts), self.strength)]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards of each item's completions."""
        module = self._fitted()
        if not items:
            return []
        batch = gather_items(items, self.store, self.options.pooling, reading=self.reading)
        p = torch.from_numpy(np.stack([item.state.weights for item in items])).float()[batch.item]
        with torch.no_grad():
            f = module.item(batch.completions)
            return batch.split(module.rewards(f, module.ideals(batch.prompts, len(f)), p))

    def trained_state(self, user_id: str) -> PALState:
        """The mixture a training user was given in training, for comparison with the one `condition` fits.

        Raises:
            BadInput: If the user was not in the training pairs, or the model was loaded.
        """
        if user_id not in self.trained_users:
            raise BadInput(f"user {user_id!r} was not among the training users; use condition() with their pairs")
        place = self.trained_users.index(user_id)
        return PALState(softmax(self._fitted().logits.detach().double().numpy()[place]))

    def save(self, folder: str | Path) -> None:
        """Write the model; not the names of its training users, which are nobody else's business."""
        save_head(self, folder, module=self._fitted(), strength=self.strength)

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore) -> Self:
        """The model that was saved in a folder, without the names of its training users."""
        model, facts, arrays = open_head(cls, folder, store)
        model.strength = saved_part(float, facts, "strength", folder)
        n_users = len(arrays["logits"]) if "logits" in arrays and arrays["logits"].ndim else 0
        model._module = make_pal_module(store.encoder.dim, n_users, model.options)
        restore_module(model._module, arrays, folder)
        return model

    @property
    def reading(self) -> PairTexts:
        """Which texts of a pair it reads; published variants differ."""
        return PairTexts(with_prompts=self.options.variant == "b", item_has_prompt=self.options.item_has_prompt)

    def _gather(self, contexts: Sequence[Sequence[PreferencePair]]) -> Contexts:
        return gather_contexts(contexts, self.store, self.options.pooling, reading=self.reading)

    def _mixtures(self, contexts: Contexts, strength: float) -> FloatArray:
        """p of each user, shape `(users, prototypes)`; nothing but p is fitted."""
        module = self._fitted()
        logits = module.logits.detach().double().numpy()
        average = np.asarray(logits.mean(axis=0) if self.options.average == "trained" else np.zeros(logits.shape[1]))
        p = np.zeros((len(contexts), len(average)))
        for batch in contexts.batches():
            with torch.no_grad():
                p[batch.users] = fit_mixtures(module, batch, average=average, strength=strength)
        return p

    def _dev_loss(self, dev: DevPairs, strength: float) -> float:
        """Mean loss on the dev users' targets under a pull of the average user."""
        module, p = self._fitted(), torch.from_numpy(self._mixtures(dev.contexts, strength)).float()

        def loss(targets: ContextBatch) -> float:
            with torch.no_grad():
                margins = margins_of(module, targets)(p[targets.users]).double().numpy()
            return float((np.logaddexp(0.0, -margins) * targets.weight.numpy()).sum())

        return dev.mean(loss)

    def _fitted(self) -> PALModule:
        return fitted(self._module, self.name)
