"""Contexts: which pairs stand for a user, in training at random and when judging all of them, and the z they make."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.embedding.with_torch import Tensor, torch
from personalrm.rewards.heads.gathering import Contexts, PairVectors
from personalrm.rewards.heads.pair_table import PairTable
from personalrm.rewards.heads.vpl.network import LatentOptions, VPLModule, kl_divergence, to_norm


@dataclass(frozen=True, repr=False)
class Draw:
    """The contexts of some targets, and the noise of their z."""

    places: Tensor
    """Places of the context pairs, `(targets, contexts, pairs)`."""
    real: Tensor
    """Which of them are not padding."""
    noise: Tensor
    """Shape `(targets, contexts, latent)`."""

    def of(self, targets: Tensor) -> Draw:
        """The draws of some of the targets."""
        return Draw(self.places[targets], self.real[targets], self.noise[targets])


@dataclass(frozen=True, repr=False)
class DrawnVectors:
    """A draw as embeddings; a pair that stands in many contexts is here once."""

    chosen: Tensor
    """Shape `(distinct pairs, dim)`."""
    rejected: Tensor
    where: Tensor
    """Which pair stands where, `(targets, contexts, pairs)`."""
    real: Tensor
    noise: Tensor

    def to(self, device: torch.device) -> DrawnVectors:
        """The same on a device."""
        held = (self.chosen, self.rejected, self.where, self.real, self.noise)
        return DrawnVectors(*(tensor.to(device) for tensor in held))


@dataclass(frozen=True, repr=False)
class Latents:
    """z of some targets' contexts and what it costs."""

    z: Tensor
    """Shape `(targets, contexts, latent)`, of norm sqrt(D); 0 for an empty context."""
    kl: Tensor
    """KL(q || N(0, I)), shape `(targets, contexts)`."""
    apart: Tensor
    """How far the swapped context is from -mu and lv (SPL), `(targets, contexts)`; 0 if not asked for."""


class ContextSampler:
    """Draws contexts of training targets from their users' other conversations.

    The whole conversation of a target is left out of its contexts, not only the target
    and what came later: pairs of one turn share completions, and give the label away.
    """

    def __init__(self, options: LatentOptions, table: PairTable, vectors: PairVectors) -> None:
        self._options, self._table, self._vectors = options, table, vectors
        places, real = table.padded()
        self._places, self._real = torch.from_numpy(places), torch.from_numpy(real)
        self._conversation = torch.from_numpy(table.conversation)

    def draw(self, targets: Tensor, generator: torch.Generator) -> Draw:
        """Contexts and noise of some targets `(targets,)`."""
        places, real = self.places(targets, generator)
        n_targets, n_contexts = places.shape[:2]
        noise = torch.randn((n_targets * n_contexts, self._options.latent), generator=generator)
        return Draw(places, real, noise.view(n_targets, n_contexts, -1))

    def places(self, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
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

    def vectors(self, drawn: Draw) -> DrawnVectors:
        """The embeddings of a draw, on the CPU."""
        distinct, where = torch.unique(drawn.places, return_inverse=True)
        chosen, rejected, _ = self._vectors.take(distinct)
        return DrawnVectors(chosen, rejected, where, drawn.real, drawn.noise)


def encode(module: VPLModule, given: DrawnVectors, *, is_swapped: bool) -> Latents:
    """z ~ q(z | context) of every drawn context, rescaled to norm sqrt(D).

    Args:
        module: Encoders.
        given: The contexts.
        is_swapped: Whether SPL's regularizer is wanted, which encodes everything once more.
    """
    mean, log_variance = _posterior(module, given.chosen, given.rejected, given)
    some = given.real.any(dim=-1, keepdim=True)
    z = to_norm(mean + (0.5 * log_variance).exp() * given.noise) * some
    apart = torch.zeros(mean.shape[:2], device=mean.device)
    if is_swapped:
        mean_s, log_variance_s = _posterior(module, given.rejected, given.chosen, given)
        apart = ((mean_s + mean) ** 2 + (log_variance_s - log_variance) ** 2).sum(dim=-1)
    return Latents(z, kl_divergence(mean, log_variance), apart)


def mean_z(module: VPLModule, contexts: Contexts, *, normalize: bool) -> Tensor:
    """z = mu of users, `(users, latent)`; zeros without context, rescaled to norm sqrt(D) if wanted."""
    device = module.shift.device
    mean = torch.zeros((len(contexts), module.decoder.of_user.in_features), device=device)
    for batch in contexts.batches():
        parts = [part.to(device) for part in (batch.chosen, batch.rejected, batch.real)]
        with torch.no_grad():
            mean[batch.users] = module.posterior(*parts)[0]
    return to_norm(mean) if normalize else mean


def _posterior(module: VPLModule, first: Tensor, second: Tensor, given: DrawnVectors) -> tuple[Tensor, Tensor]:
    """mu and lv of contexts, `(targets, contexts, latent)` each."""
    encoded = module.pairs(module.standard(first), module.standard(second))
    shape = given.where.shape[:2]
    mean, log_variance = module.users(encoded[given.where.flatten(0, 1)], given.real.flatten(0, 1))
    return mean.view(*shape, -1), log_variance.view(*shape, -1)
