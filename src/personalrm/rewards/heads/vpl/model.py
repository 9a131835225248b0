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

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import NotFitted
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.controls import active_units
from personalrm.rewards.heads.gathering import (
    Contexts,
    PairVectors,
    gather_contexts,
    gather_items,
    gather_pairs,
    pair_weights,
)
from personalrm.rewards.heads.pair_table import PairTable, make_pair_table
from personalrm.rewards.heads.vpl.contexts import ContextSampler, Latents, encode, mean_z
from personalrm.rewards.heads.vpl.network import LatentOptions, VPLModule, VPLOptions, make_vpl_module
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem
from personalrm.rewards.saving import read_model, restore_module, saved_part, write_model
from personalrm.rewards.training import Curve, Look, checkpoints_for, train
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


__all__ = ["VPL", "VPLOptions", "VPLState", "active_units"]


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
            for buffer, value in zip((module.shift, module.scale), vectors.moments(), strict=True):
                buffer.copy_(value)
        self._module = module
        loss = VPLLoss(module, options, table, vectors)
        self.curve = train(
            module,
            loss,
            options.optimization,
            seed=options.seed,
            dev=self._look(dev),
            checkpoints=checkpoints_for(self.checkpoint, asdict(options), self.store.encoder.identity, table.hashes),
        )
        return self

    @property
    def active_share(self) -> list[float]:
        """Share of active units of z over the dev users, at each look at them; near 0 is posterior collapse."""
        return [look["active_share"] for look in self.curve.told] if self.curve else []

    def _look(self, dev: Sequence[DevUser]) -> Callable[[], Look] | None:
        """Mean loss on the dev users' targets, and the share of active units."""
        users = [user for user in dev if user.targets]
        if not users:
            return None
        contexts = gather_contexts([user.context for user in users], self.store, self.options.pooling)
        targets = gather_contexts([user.targets for user in users], self.store, self.options.pooling)

        def look() -> Look:
            module, z = self._fitted(), self._z(contexts)
            loss = 0.0
            for batch in targets.batches():
                own = z[batch.users, None]
                with torch.no_grad():
                    margins = module.reward(batch.chosen, own) - module.reward(batch.rejected, own)
                loss += float((nn.functional.softplus(-margins) * batch.weight).sum())
            return Look(loss / float(targets.table.weight.sum()), {"active_share": active_units(z.double().numpy())})

        return look

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
        arrays = {name: tensor.numpy() for name, tensor in self._fitted().state_dict().items()}
        facts = {"options": asdict(self.options), "encoder": self.store.encoder.identity}
        write_model(folder, self.name, facts, arrays)

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore) -> Self:
        """The model that was saved in a folder."""
        facts, arrays = read_model(folder, cls.name, encoder=store.encoder.identity)
        model = cls(store, saved_part(VPLOptions, facts, "options", folder))
        model._module = make_vpl_module(store.encoder.dim, model.options)
        restore_module(model._module, arrays, folder)
        return model

    def _z(self, contexts: Contexts) -> Tensor:
        return mean_z(self._fitted(), contexts, normalize=self.options.normalize_mu)

    def _fitted(self) -> VPLModule:
        if self._module is None:
            raise NotFitted(f"a {self.name} model was asked before it was fitted; call fit or load first")
        return self._module
