"""The ELBO of VPL, and a step of it on frozen embeddings: which targets, which contexts, which noise."""

from __future__ import annotations

from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.rewards.heads.gathering import PairVectors, pair_weights
from personalrm.rewards.heads.pair_table import PairTable
from personalrm.rewards.heads.vpl.contexts import ContextSampler, Latents, encode
from personalrm.rewards.heads.vpl.network import LatentOptions, VPLModule, VPLOptions


def elbo(margins: Tensor, latents: Latents, options: LatentOptions, *, beta: float, dim: int | None = None) -> Tensor:
    """-log sigmoid(r_chosen - r_rejected) + beta KL(q || N(0, I)) + SPL's regulariser, as means.

    Args:
        margins: Shape `(targets, contexts)`.
        latents: What z costs.
        options: Weight of the regulariser.
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
