"""Pluralistic alignment (Chen et al. 2024; the paper's section 5.1, appendices A.4 and B).

A user is a convex combination of K prototypes: with p_u = softmax(W_u) the reward of a
completion is the similarity of its projection f(x) with the ideal point sum_k p_uk g_k,
where the g_k are functions of the prompt (variant b) or free vectors (variant a).
Trained jointly for all users by Bradley-Terry on the difference. A new user fits p alone,
everything else frozen; with the dot product that is a small problem on the simplex, solved
for all new users at once.

With the dot product the margin is linear in p and the shared simplex solver does it. The
cosine divides by the length of the mixed ideal point, so there the same objective is
stepped by Adam on the padded batch, elementwise and therefore equal to one user at a time.
The published fit is neither: a fixed number of small steps from random logits, so that its
result is mostly where it began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.gathering import (
    ContextBatch,
    Contexts,
    gather_contexts,
    gather_items,
    gather_pairs,
    pair_weights,
)
from personalrm.rewards.heads.pair_table import PairTexts, make_pair_table
from personalrm.rewards.heads.pal.network import PALModule, PALOptions, make_pal_module
from personalrm.rewards.heads.simplex import LEAST_STRENGTH, fit_simplex, softmax
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem
from personalrm.rewards.saving import read_model, restore_module, saved_part, write_model
from personalrm.rewards.training import Curve, checkpoints_for, train
from personalrm.stats.arrays import FloatArray

N_STEPS = 300
RATE = 0.1
PUBLISHED_RATE, PUBLISHED_EPOCHS = 5e-3, 20
PUBLISHED_DECAY, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8
"""torch's own for AdamW; the published code does not set them."""


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
    prompts = contexts.prompt.flatten(0, 1) if contexts.prompt is not None else None
    a = module.margins_by_prototype(contexts.chosen.flatten(0, 1), contexts.rejected.flatten(0, 1), prompts)
    margins = list(a.double().view(users, most, -1).numpy())
    weights = list(contexts.weight.double().numpy())
    return fit_simplex(margins, weights=weights, prior=average, strength=strength).weights


def _by_steps(module: PALModule, contexts: ContextBatch, average: FloatArray, strength: float) -> FloatArray:
    margins, start = _margins_of(module, contexts), torch.from_numpy(average).float()
    logits = start.repeat(len(contexts.real), 1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=RATE)
    with torch.enable_grad():
        for _ in range(N_STEPS):
            fit = (contexts.weight * nn.functional.softplus(-margins(logits.softmax(dim=-1)))).sum()
            pull = 0.5 * (strength + LEAST_STRENGTH) * ((logits - start) ** 2).sum()
            (logits.grad,) = torch.autograd.grad(fit + pull, [logits])
            optimizer.step()
    return np.asarray(softmax(logits.detach().double().numpy()))


def _as_published(module: PALModule, contexts: ContextBatch, average: FloatArray) -> FloatArray:
    """AdamW over each user's pairs in time order, batch by batch; one random start for all, drawn from the seed."""
    margins, real = _margins_of(module, contexts), contexts.real
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


def _margins_of(module: PALModule, contexts: ContextBatch) -> Callable[[Tensor], Tensor]:
    """Margins `(users, pairs)` as a function of p `(users, prototypes)`, everything else computed once."""
    users, most = contexts.real.shape
    prompts = contexts.prompt.flatten(0, 1) if contexts.prompt is not None else None
    with torch.no_grad():
        won, lost = module.item(contexts.chosen.flatten(0, 1)), module.item(contexts.rejected.flatten(0, 1))
        ideals = module.ideals(prompts, len(won))

    def margins(p: Tensor) -> Tensor:
        each = p.repeat_interleave(most, dim=0)
        return (module.rewards(won, ideals, each) - module.rewards(lost, ideals, each)).view(users, most)

    return margins


__all__ = ["PAL", "PALOptions", "PALState"]
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""What the pull of the average user may be, chosen by loss on the dev users where there are any."""


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
        table = make_pair_table(pairs, self.store, reading=self._reading)
        data = gather_pairs(table, self.store, options.pooling)
        module = make_pal_module(self.store.encoder.dim, table.n_users, options)
        if options.standardize:
            for buffer, value in zip((module.shift, module.scale), data.moments(), strict=True):
                buffer.copy_(value)
        self._module, self.trained_users, self.strength = module, table.user_ids, options.strength
        user, weight = torch.from_numpy(table.user), pair_weights(table, by_choice=options.weigh_choices)

        def loss(_: int, generator: torch.Generator) -> Tensor:
            some = torch.randperm(len(table), generator=generator)[: options.batch_size]
            chosen, rejected, prompts = data.take(some)
            ideals, p = module.ideals(prompts, len(some)), module.logits[user[some]].softmax(dim=-1)
            margin = module.rewards(module.item(chosen), ideals, p) - module.rewards(module.item(rejected), ideals, p)
            apart = module.logits - module.logits.mean(dim=0)
            fit = (weight[some] * nn.functional.softplus(-margin)).mean()
            return fit + options.logit_penalty * (apart**2).sum(dim=1).mean()

        look = self._look(dev)
        self.curve = train(
            module,
            loss,
            options.optimization,
            seed=options.seed,
            groups=module.groups(),
            dev=look,
            checkpoints=checkpoints_for(self.checkpoint, asdict(options), self.store.encoder.identity, table.hashes),
        )
        if look is not None and options.n_prototypes > 1 and options.new_user == "solved":
            self.strength = min(STRENGTHS, key=look)
        return self

    def _look(self, dev: Sequence[DevUser]) -> Callable[..., float] | None:
        """Mean loss on the dev users' targets, as a function of the pull of the average user."""
        users = [user for user in dev if user.targets]
        if not users:
            return None
        contexts = self._gather([user.context for user in users])
        targets = self._gather([user.targets for user in users])

        def look(strength: float | None = None) -> float:
            p, total = self._mixtures(contexts, self.strength if strength is None else strength), 0.0
            for batch in targets.batches():
                margins = self._margins(batch, torch.from_numpy(p[batch.users]).float())
                total += float((np.logaddexp(0.0, -margins) * batch.weight.numpy()).sum())
            return total / float(targets.table.weight.sum())

        return look

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
        batch = gather_items(items, self.store, self.options.pooling, reading=self._reading)
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
        arrays = {name: tensor.numpy() for name, tensor in self._fitted().state_dict().items()}
        facts = {"options": asdict(self.options), "encoder": self.store.encoder.identity, "strength": self.strength}
        write_model(folder, self.name, facts, arrays)

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore) -> Self:
        """The model that was saved in a folder, without the names of its training users."""
        facts, arrays = read_model(folder, cls.name, encoder=store.encoder.identity)
        model = cls(store, saved_part(PALOptions, facts, "options", folder))
        model.strength = saved_part(float, facts, "strength", folder)
        n_users = len(arrays["logits"]) if "logits" in arrays and arrays["logits"].ndim else 0
        model._module = make_pal_module(store.encoder.dim, n_users, model.options)
        restore_module(model._module, arrays, folder)
        return model

    @property
    def _reading(self) -> PairTexts:
        return PairTexts(with_prompts=self.options.variant == "b", item_has_prompt=self.options.item_has_prompt)

    def _gather(self, contexts: Sequence[Sequence[PreferencePair]]) -> Contexts:
        return gather_contexts(contexts, self.store, self.options.pooling, reading=self._reading)

    def _average(self) -> FloatArray:
        """Logits of the average user, shape `(prototypes,)`."""
        logits = self._fitted().logits.detach().double().numpy()
        return np.asarray(logits.mean(axis=0) if self.options.average == "trained" else np.zeros(logits.shape[1]))

    def _mixtures(self, contexts: Contexts, strength: float) -> FloatArray:
        """p of each user, shape `(users, prototypes)`; nothing but p is fitted."""
        module, average = self._fitted(), self._average()
        p = np.zeros((len(contexts), len(average)))
        for batch in contexts.batches():
            with torch.no_grad():
                p[batch.users] = fit_mixtures(module, batch, average=average, strength=strength)
        return p

    def _margins(self, targets: ContextBatch, p: Tensor) -> FloatArray:
        """Margins of padded pairs under their users' mixtures, shape `(users, pairs)`."""
        module, n = self._fitted(), targets.real.shape[1]
        with torch.no_grad():
            p = p.repeat_interleave(n, dim=0)
            prompts = targets.prompt.flatten(0, 1) if targets.prompt is not None else None
            ideals = module.ideals(prompts, len(p))
            won = module.rewards(module.item(targets.chosen.flatten(0, 1)), ideals, p)
            lost = module.rewards(module.item(targets.rejected.flatten(0, 1)), ideals, p)
        return np.asarray((won - lost).double().view(-1, n).numpy())

    def _fitted(self) -> PALModule:
        if self._module is None:
            raise NotFitted(f"a {self.name} model was asked before it was fitted; call fit or load first")
        return self._module
