"""Variational preference learning (Poddar et al. 2024; the paper's section 5.1 and appendix A).

A user's context pairs are encoded into a Gaussian q(z | context) = N(mu, diag exp(lv));
the reward of a completion with embedding h is decoder([h, z]). Trained by the ELBO

    -log sigmoid(r_chosen - r_rejected) + beta_t KL(N(mu, exp(lv)) || N(0, I))

with h from the store (the language model is frozen; its rows are computed once). The
settings of the published code are `VPLOptions.faithful()`; the defaults mend what is
known to be wrong with it (docs/paper.md, "VPL over a language model"). With h from a language
model that is trained along: `rewards/language/vpl_lm/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.controls import active_units
from personalrm.rewards.heads.gathering import (
    ContextBatch,
    Contexts,
    DevPairs,
    PairVectors,
    gather_contexts,
    gather_dev,
    gather_items,
    gather_pairs,
    pair_weights,
)
from personalrm.rewards.heads.pair_table import PairTable, make_pair_table
from personalrm.rewards.heads.vpl.contexts import ContextSampler, Latents, encode, mean_z
from personalrm.rewards.heads.vpl.network import LatentOptions, VPLModule, VPLOptions, make_vpl_module
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, fitted
from personalrm.rewards.saving import open_head, restore_module, save_head
from personalrm.rewards.training import Curve, Look, train_head
from personalrm.stats.arrays import FloatArray


def elbo(margins: Tensor, latents: Latents, options: LatentOptions, *, beta: float, dim: int | None = None) -> Tensor:
    """-log sigmoid(r_chosen - r_rejected) + beta KL(q || N(0, I)) + SPL's regularizer, as means.

    Args:
        margins: Shape `(targets, contexts)`.
        latents: What z costs.
        options: Weight of the regularizer.
        beta: Weight of KL at this step.
        dim: Over what the mean is taken: 1 for each target, None for all.
    """
    loss = nn.functional.softplus(-margins).mean(dim) + beta * latents.kl.mean(dim)
    return loss + options.swap_weight * latents.apart.mean(dim)


class VPLLoss:
    """The ELBO of one step: targets drawn at random, contexts drawn from their users' other conversations."""

    def __init__(self, module: VPLModule, options: VPLOptions, table: PairTable, vectors: PairVectors) -> None:
        self._module, self._options, self._vectors, self._n = module, options, vectors, len(table)
        self._weight = pair_weights(table, by_choice=options.weigh_choices)
        self._contexts = ContextSampler(options, table, vectors)

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step."""
        options, module = self._options, self._module
        targets = torch.randperm(self._n, generator=generator)[: options.batch_size]  # (targets,)
        given = self._contexts.vectors(self._contexts.draw(targets, generator))
        latents = encode(module, given, is_swapped=options.swap_weight > 0)
        chosen, rejected, _ = self._vectors.take(targets)
        # A text meets all its contexts after the one wide map, so it is read once.
        margins = module.reward(chosen[:, None], latents.z) - module.reward(rejected[:, None], latents.z)
        each = elbo(margins, latents, options, beta=options.kl_share(step, options.optimization.n_steps), dim=1)
        return (self._weight[targets] * each).mean()


@dataclass(frozen=True, repr=False)
class VPLState:
    """What VPL knows of a user."""

    z: npt.NDArray[np.float32]
    """Shape `(latent,)`; zeros for the average user."""


class VPL(RewardModel[VPLState]):
    """VPL on cached embeddings; the constructor stores what it is given.

    Args:
        store: Where the vectors are and where missing ones are put.
        options: Architecture, loss, training.
        checkpoint: File to keep a training in and to go on from.
    """

    name = "vpl"
    options_type = VPLOptions

    def __init__(
        self, store: EmbeddingStore, options: VPLOptions | None = None, *, checkpoint: Path | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.store = store
        self.options = options or VPLOptions()
        self.curve: Curve | None = None
        self._module: VPLModule | None = None

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train on the pairs of many users; dev users stop it in time.

        Raises:
            BadInput: If there are no pairs.
            TrainingFailed: If the loss stays no number.
        """
        options = self.options
        table = make_pair_table(pairs, self.store)
        vectors = gather_pairs(table, self.store, options.pooling)
        module = make_vpl_module(self.store.encoder.dim, options)
        if options.standardize:
            vectors.standardize(module)
        self._module, watched = module, gather_dev(dev, self.store, options.pooling)
        look = None if watched is None else lambda: self._look(watched)
        self.curve = train_head(self, module, VPLLoss(module, options, table, vectors), table.hashes, dev=look)
        return self

    @property
    def active_share(self) -> list[float]:
        """Share of active units of z over the dev users, at each look at them; near 0 is posterior collapse."""
        return [look["active_share"] for look in self.curve.told] if self.curve else []

    def _look(self, dev: DevPairs) -> Look:
        """Mean loss on the dev users' targets, and the share of active units."""
        module, z = self._fitted(), self._z(dev.contexts)

        def loss(targets: ContextBatch) -> float:
            own = z[targets.users, None]
            with torch.no_grad():
                margins = module.reward(targets.chosen, own) - module.reward(targets.rejected, own)
            return float((nn.functional.softplus(-margins) * targets.weight).sum())

        return Look(dev.mean(loss), {"active_share": active_units(z.double().numpy())})

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[VPLState]:
        """z = mu of each user; zeros without context."""
        self._fitted()
        if not contexts:
            return []
        return [VPLState(z) for z in self._z(gather_contexts(contexts, self.store, self.options.pooling)).numpy()]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards of each item's completions."""
        module = self._fitted()
        if not items:
            return []
        batch = gather_items(items, self.store, self.options.pooling)
        z = torch.from_numpy(np.stack([item.state.z for item in items]))
        with torch.no_grad():
            return batch.split(module.reward(batch.completions, z[batch.item]))

    def save(self, folder: str | Path) -> None:
        """Write the model."""
        save_head(self, folder, module=self._fitted())

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore) -> Self:
        """The model that was saved in a folder."""
        model, _, arrays = open_head(cls, folder, store)
        model._module = make_vpl_module(store.encoder.dim, model.options)
        restore_module(model._module, arrays, folder)
        return model

    def _z(self, contexts: Contexts) -> Tensor:
        return mean_z(self._fitted(), contexts, normalize=self.options.normalize_mu)

    def _fitted(self) -> VPLModule:
        return fitted(self._module, self.name)
