"""Episodes of GPO: some users, for each some pairs as context and others as targets.

Drawn with array operations for all users of a step at once. A conversation never gives
both context and target, as it never does at evaluation.

How GPO sees a pair: one prompt with both completions, or two embeddings, as their difference or side by side.

`pair` is the paper's way: the language model reads conversation and both completions in
one prompt, in either order, so a pair has two vectors of its own. `difference` (GPO-diff,
an extension) is e(first) - e(second) from the shared store: no second embedding job, one
vector a pair, and the other order is its negative. `concatenated` is [e(first), e(second)]
from the same store, twice as wide: nothing of either is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from personalrm.embedding.encoders import Pooling, TextSequence, Vectors
from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import torch
from personalrm.preferences.messages import Conversation
from personalrm.prompts.rendering import pair_messages
from personalrm.rewards.heads.couples import Shown
from personalrm.rewards.heads.gpo.network import GPONetwork, TokenLayout
from personalrm.rewards.heads.pair_table import PairTable, vectors_of_owners

TokenKind = Literal["pair", "difference", "concatenated"]
Labels = Literal["pm1", "zero_pad"]


def pair_sequence(conversation: Conversation, first: str, second: str) -> TextSequence:
    """Conversation and both completions as one prompt without a question; no text can forge another's borders."""
    return TextSequence(pair_messages(conversation, first, second).messages)


def tokens_of(
    kind: TokenKind, store: EmbeddingStore, shown: Sequence[Shown], pooling: Pooling, owners: Sequence[str]
) -> Vectors:
    """The vectors of each couple of completions, shape `(couples, orders, dim)`.

    There are two orders, as shown and swapped, but of a `difference` one; `concatenated` ones are twice as wide.

    Args:
        kind: Which tokens.
        store: Where the vectors are; couples with an owner are kept in it.
        shown: The couples.
        pooling: Which vectors.
        owners: Whose each couple is; empty leaves nothing behind.
    """
    sequences = []
    for conversation, first, second in shown:
        if kind == "pair":
            sequences += [pair_sequence(conversation, first, second), pair_sequence(conversation, second, first)]
        else:
            sequences += [TextSequence(conversation, first), TextSequence(conversation, second)]
    found = vectors_of_owners(store, sequences, [owner for owner in owners for _ in (0, 1)], pooling)
    vectors = found.reshape(len(shown), 2, store.encoder.dim)
    if kind == "difference":
        return vectors[:, :1] - vectors[:, 1:]
    return vectors if kind == "pair" else np.concatenate([vectors, vectors[:, ::-1]], axis=-1)


def token_width(kind: TokenKind, dim: int) -> int:
    """Width of a token made from vectors of width `dim`."""
    return 2 * dim if kind == "concatenated" else dim


def scale_and_shift(kind: TokenKind, tokens: Vectors) -> tuple[Vectors, Vectors]:
    """Deviation and mean over both orders, `(dim,)` each; 1 for a column that never changes."""
    rows = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    # Each difference also stands for its negative, so their mean is 0, and stays 0 so that they remain odd.
    shift = np.zeros(rows.shape[1]) if kind == "difference" else rows.mean(axis=0)
    scale = np.sqrt(((rows - shift) ** 2).mean(axis=0))
    return np.where(scale > 0, scale, 1.0).astype(np.float32), shift.astype(np.float32)


@dataclass(frozen=True)
class EpisodeSizes:
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
    """Scaled tokens, chosen first, then chosen second where that is not the negative of it, (B, T, orders, dim)."""
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
    """Chosen completion first, then second where that is not the negative of it, (pairs, orders, dim)."""
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

    def draw(self, sampling: EpisodeSizes, generator: torch.Generator) -> Episode:
        """Users at random, each with a random context and targets from other conversations."""
        device = self.tokens.device
        users = torch.arange(len(self.places), device=device)
        if len(users) > sampling.n_users:
            users = torch.randperm(len(users), generator=generator, device=device)[: sampling.n_users]
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

    def _sizes(self, counts: torch.Tensor, sampling: EpisodeSizes, generator: torch.Generator) -> torch.Tensor:
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
    layout = TokenLayout(mask.sum(dim=1), n_targets * 2 if style.is_antisymmetric else n_targets)
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
