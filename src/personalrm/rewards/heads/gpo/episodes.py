"""Episodes of GPO: some users, for each some pairs as context and others as targets.

Drawn with array operations for all users of a step at once. A conversation never gives
both context and target, as it never does at evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from personalrm.embedding.encoders import Vectors
from personalrm.embedding.with_torch import torch
from personalrm.rewards.heads.gpo.network import GPONetwork, Layout
from personalrm.rewards.heads.pair_table import PairTable

Labels = Literal["pm1", "zero_pad"]


@dataclass(frozen=True)
class Sampling:
    """What one training step sees."""

    n_users: int = 32
    max_context: int = 32
    """Context sizes are uniform between 1 and this, or one less than the user has."""
    max_targets: int = 16
    empty_share: float = 0.1
    """Share of episodes without context, so that a new user is nothing unheard of."""


@dataclass(frozen=True)
class Style:
    """How labels are written and orders are used."""

    labels: Labels
    is_antisymmetric: bool
    """Whether a margin is half the difference of the logits of both orders."""

    def written(self, second: torch.Tensor) -> torch.Tensor:
        """Labels of context pairs whose chosen completion is shown second (1) or first (0)."""
        return 1.0 - 2.0 * second if self.labels == "pm1" else second


@dataclass(frozen=True, repr=False)
class Episode:
    """B users with C context and T target columns, padded."""

    context: torch.Tensor
    """Scaled tokens as shown, (B, C, dim)."""
    second: torch.Tensor
    """Whether the chosen completion is shown second, as 0 or 1, (B, C)."""
    mask: torch.Tensor
    """Which context columns are real, (B, C)."""
    targets: torch.Tensor
    """Scaled tokens, chosen first, then chosen second where that is no negative, (B, T, orders, dim)."""
    weight: torch.Tensor
    """How much each target counts, 0 where padded, (B, T)."""
    target_second: torch.Tensor
    """In which order a target is shown where only one is, (B, T)."""
    context_weight: torch.Tensor
    """How much each context pair counts, 0 where padded, (B, C); a transformer has no use for it, MRM has."""


@dataclass(frozen=True, repr=False)
class Pool:
    """Training pairs as tensors, user by user."""

    tokens: torch.Tensor
    """Chosen completion first, then second where that is no negative, (pairs, orders, dim)."""
    places: torch.Tensor
    """(users, most pairs), 0 where padded."""
    real: torch.Tensor
    conversation: torch.Tensor
    """Number of each pair's conversation within its user, (pairs,)."""
    weight: torch.Tensor

    @classmethod
    def of(cls, table: PairTable, tokens: Vectors, device: str) -> Pool:
        """The pairs of a table with their scaled tokens."""
        places, real = (torch.as_tensor(array, device=device) for array in table.padded())
        first = table.conversation[table.offsets[table.user]]  # a user's first pair has their first conversation
        own = torch.as_tensor(table.conversation - first, device=device)
        weight = torch.as_tensor(table.weight, dtype=torch.float32, device=device)
        return cls(torch.as_tensor(tokens, device=device), places, real, own, weight)

    def draw(self, sampling: Sampling, generator: torch.Generator) -> Episode:
        """Users at random, each with a random context and targets from other conversations."""
        device = self.tokens.device
        users = self._users(sampling.n_users, generator)
        places, real = self.places[users], self.real[users]
        # One random place a conversation, then one number a pair: a conversation's pairs stay together. Places
        # are whole numbers, since two random numbers may be so near that their conversations would mix.
        between = torch.rand(places.shape, generator=generator, device=device).argsort(dim=1).float()
        within = torch.rand(places.shape, generator=generator, device=device)
        key = between.gather(1, self.conversation[places]) + 0.5 * within
        order = torch.argsort(torch.where(real, key, torch.inf), dim=1)
        places = places.gather(1, order)
        sizes = self._sizes(real.sum(dim=1), sampling, generator)
        columns = torch.arange(int(sizes.max()), device=device)
        context, mask = places[:, : len(columns)], columns < sizes[:, None]
        targets, weight = self._targets(places, sizes, real.sum(dim=1), sampling.max_targets)
        second = self._coins(context, generator)
        return Episode(
            self.shown(context, second), second, mask, self.tokens[targets], weight,
            self._coins(targets, generator), self.weight[context] * mask,
        )  # fmt: skip

    def shown(self, places: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Tokens of some pairs in the order they are shown, (..., dim)."""
        return in_order(self.tokens[places], second)

    def _users(self, n_users: int, generator: torch.Generator) -> torch.Tensor:
        n, device = len(self.places), self.tokens.device
        if n <= n_users:
            return torch.arange(n, device=device)
        return torch.randperm(n, generator=generator, device=device)[:n_users]

    def _sizes(self, counts: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> torch.Tensor:
        most = (counts - 1).clamp(max=sampling.max_context)
        share = torch.rand(counts.shape, generator=generator, device=counts.device)
        is_empty = torch.rand(counts.shape, generator=generator, device=counts.device) < sampling.empty_share
        drawn = (share * most).long().clamp(max=sampling.max_context - 1) + 1
        return torch.where(is_empty | (most < 1), torch.zeros_like(most), drawn)

    def _targets(
        self, places: torch.Tensor, sizes: torch.Tensor, counts: torch.Tensor, most: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the targets behind each context and their weights, (B, T) each."""
        columns = sizes[:, None] + torch.arange(min(most, places.shape[1]), device=places.device)
        targets = places.gather(1, columns.clamp(max=places.shape[1] - 1))
        last = places.gather(1, (sizes - 1).clamp(min=0)[:, None])
        straddles = (self.conversation[targets] == self.conversation[last]) & (sizes > 0)[:, None]
        return targets, self.weight[targets] * ((columns < counts[:, None]) & ~straddles)

    def _coins(self, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """0 or 1 at random, as a number; a training set shown in one order only would make every label equal."""
        return torch.randint(0, 2, like.shape, generator=generator, device=like.device).float()


def in_order(tokens: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Tokens as shown, (..., orders, dim) -> (..., dim): `second` is 1 where the chosen completion is shown second."""
    if tokens.shape[-2] == 2:
        return torch.where(second[..., None] > 0, tokens[..., 1, :], tokens[..., 0, :])
    return tokens[..., 0, :] * (1.0 - 2.0 * second)[..., None]


def both_orders(network: GPONetwork, tokens: torch.Tensor) -> torch.Tensor:
    """Projected tokens of both orders, (..., orders, dim) -> (..., 2, width); projecting is odd."""
    projected = network.project(tokens)
    return projected if tokens.shape[-2] == 2 else torch.cat([projected, -projected], dim=-2)


def episode_loss(network: GPONetwork, episode: Episode, style: Style) -> torch.Tensor:
    """Cross-entropy, averaged over each user's targets, then over users that have any; padding is never computed."""
    mask, counts = episode.mask, episode.weight > 0
    tokens, second = episode.targets[counts], episode.target_second[counts]  # (Nt, orders, dim)
    if style.is_antisymmetric:
        shown = both_orders(network, tokens).flatten(0, 1)  # (2 Nt, width)
    else:
        shown = network.project(in_order(tokens, second))
    n_targets = counts.sum(dim=1)
    layout = Layout(mask.sum(dim=1), n_targets * 2 if style.is_antisymmetric else n_targets)
    labels = style.written(episode.second[mask])
    logits = network.read(network.project(episode.context[mask]), labels, shown, layout)
    if style.is_antisymmetric:
        both = logits.view(-1, 2)
        margins = (both[:, 0] - both[:, 1]) / 2.0
    else:
        margins = logits * (1.0 - 2.0 * second)
    totals = episode.weight.sum(dim=1)
    share = (episode.weight / totals.clamp(min=1e-9)[:, None])[counts]
    mean: torch.Tensor = (torch.nn.functional.softplus(-margins) * share).sum() / (totals > 0).sum().clamp(min=1)
    return mean
