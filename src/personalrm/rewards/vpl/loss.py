"""The ELBO of VPL, one step at a time: which targets, which contexts, which noise."""

from __future__ import annotations

from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.rewards.gathering import PairVectors
from personalrm.rewards.pair_table import PairTable
from personalrm.rewards.vpl.network import VPLModule, VPLOptions, kl_divergence, to_norm


class VPLLoss:
    """The ELBO of one step: targets drawn at random, contexts drawn from their users' other conversations.

    The whole conversation of a target is left out of its contexts, not only the target
    and what came later: pairs of one turn share completions, and give the label away.
    """

    def __init__(self, module: VPLModule, options: VPLOptions, table: PairTable, vectors: PairVectors) -> None:
        self._module, self._options, self._table, self._vectors = module, options, table, vectors
        places, real = table.padded()
        self._places, self._real = torch.from_numpy(places), torch.from_numpy(real)
        self._conversation = torch.from_numpy(table.conversation)

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """The loss of a step."""
        options, table = self._options, self._table
        size = min(options.batch_size, len(table))
        targets = torch.randperm(len(table), generator=generator)[:size]  # (targets,)
        context, real = self.draw_contexts(targets, generator)  # (targets, contexts, pairs)
        mean, log_variance = self.posterior(context.flatten(0, 1), real.flatten(0, 1))
        noise = torch.randn(mean.shape, generator=generator)
        some = real.flatten(0, 1).any(dim=1, keepdim=True)
        z = to_norm(mean + (0.5 * log_variance).exp() * noise) * some  # (targets * contexts, latent)
        z = z.view(size, options.n_contexts, -1)
        chosen, rejected, _ = self._vectors.take(targets)
        # A text meets all its contexts after the one wide map, so it is read once.
        margins = self._module.reward(chosen[:, None], z) - self._module.reward(rejected[:, None], z)
        loss = nn.functional.softplus(-margins).mean()
        return (
            loss
            + self._kl_weight(step) * kl_divergence(mean, log_variance).mean()
            + self._swapped(context, real, mean, log_variance)
        )

    def draw_contexts(self, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Places of context pairs and which are real, `(targets, contexts, most_context)` each."""
        options = self._options
        user = torch.from_numpy(self._table.user)[targets]
        places, real = self._places[user], self._real[user]  # (targets, pairs of a user)
        allowed = real & (self._conversation[places] != self._conversation[targets][:, None])
        n_contexts, most = options.n_contexts, min(options.most_context, places.shape[1])
        shape = (len(targets), n_contexts, places.shape[1])
        order = torch.rand(shape, generator=generator).masked_fill(~allowed[:, None, :], 2.0)  # 2: behind all allowed
        drawn = order.topk(most, dim=-1, largest=False)
        number = torch.randint(1, most + 1, shape[:2], generator=generator)
        number[torch.rand(shape[:2], generator=generator) < options.empty_share] = 0
        kept = (drawn.values < 2.0) & (torch.arange(most) < number[..., None])
        return places[:, None, :].expand(shape).gather(-1, drawn.indices), kept

    def posterior(self, places: Tensor, real: Tensor, *, swapped: bool = False) -> tuple[Tensor, Tensor]:
        """mu and lv of contexts `(contexts, pairs)`; a pair that stands in many of them is encoded once."""
        distinct, where = torch.unique(places, return_inverse=True)
        chosen, rejected, _ = self._vectors.take(distinct)
        first, second = (rejected, chosen) if swapped else (chosen, rejected)
        encoded = self._module.pairs(self._module.standard(first), self._module.standard(second))
        found: tuple[Tensor, Tensor] = self._module.users(encoded[where], real)
        return found

    def _kl_weight(self, step: int) -> float:
        n_warm = self._options.kl_warmup_share * self._options.optimization.n_steps
        return self._options.kl_weight * min(1.0, (step + 1) / max(1.0, n_warm))

    def _swapped(self, context: Tensor, real: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """SPL: mu of the swapped context against -mu, lv against lv (section 3.8)."""
        if not self._options.swap_weight:
            return torch.zeros(())
        mean_s, log_variance_s = self.posterior(context.flatten(0, 1), real.flatten(0, 1), swapped=True)
        apart = (mean_s + mean) ** 2 + (log_variance_s - log_variance) ** 2
        return self._options.swap_weight * apart.sum(dim=-1).mean()
