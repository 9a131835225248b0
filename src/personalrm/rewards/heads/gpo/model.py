"""GPO (Zhao et al. 2023): a user's choices are the context of a small transformer, no weight is fitted for them.

The paper's adaptation (SynthesizeMe, A.2) is `GPOOptions.faithful()`; the default repairs what it leaves
open: +1/-1 labels instead of 0/1 beside padding that is 0 too,
standardized embeddings, a null token for empty contexts, and logits antisymmetrized over
the two orders of a pair, so that position decides nothing.

At evaluation many users with ragged contexts and targets share one forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Pooling, Vectors
from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import torch
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.couples import Shown, mean_margins
from personalrm.rewards.heads.gpo.episodes import (
    Episode,
    EpisodeSizes,
    Labels,
    Pool,
    Style,
    TokenKind,
    both_orders,
    episode_loss,
    scale_and_shift,
    token_width,
    tokens_of,
)
from personalrm.rewards.heads.gpo.network import GPONetwork, GPOShape, make_network
from personalrm.rewards.heads.pair_table import PairTable, make_context_table, make_pair_table
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, fitted
from personalrm.rewards.saving import checked_arrays, open_head, restore_module, save_head
from personalrm.rewards.training import Curve, Optimization, train_head
from personalrm.stats.arrays import FloatArray

MOST_TOKENS = 16_384
"""Tokens of one forward at evaluation, padding included."""


@dataclass(frozen=True, repr=False)
class GPOState:
    """One user's context as the network reads it."""

    context: Vectors
    """Projected tokens, shape `(pairs, width)`."""
    labels: Vectors
    """Shape `(pairs,)`."""


@dataclass(frozen=True)
class OrderLogits:
    """What the network says of one couple in both orders, as a judge of pairs is evaluated."""

    first: float
    """Logit that the first is preferred when it is shown first."""
    second: float
    """Logit that the second is preferred when it is shown first, the first second."""

    @property
    def margin(self) -> float:
        """Half the difference: what is left when position says nothing."""
        return (self.first - self.second) / 2.0


def forward_users(
    network: GPONetwork, states: Sequence[GPOState], users: npt.NDArray[np.int64], tokens: torch.Tensor
) -> FloatArray:
    """Logits of all targets in both orders, `(targets, 2)`, users padded to one batch.

    Args:
        network: TrainedGPO.
        states: One a user.
        users: Which user each target is of, `(targets,)`.
        tokens: Scaled, `(targets, orders, dim)`.
    """
    found = np.zeros((len(users), 2))
    order = np.argsort(users, kind="stable")
    by_user = np.split(order, np.searchsorted(users[order], np.arange(1, len(states))))
    # Users of like size share a batch, so little of it is padding.
    ranked = sorted(range(len(states)), key=lambda user: (len(by_user[user]), len(states[user].labels)))
    for batch in _batches(ranked, [2 * len(by_user[u]) + len(states[u].labels) for u in range(len(states))]):
        places = [by_user[user] for user in batch]
        real = np.arange(max(map(len, places)))[None, :] < np.array([len(of_user) for of_user in places])[:, None]
        targets = np.zeros(real.shape, dtype=np.int64)
        targets[real] = np.concatenate(places)
        if real.any():
            logits = _forward(network, [states[user] for user in batch], tokens[torch.as_tensor(targets)])
            found[targets[real]] = logits[real]
    return found


def _forward(network: GPONetwork, states: Sequence[GPOState], tokens: torch.Tensor) -> npt.NDArray[Any]:
    """Logits `(users, targets, 2)` of one batch."""
    device = next(network.parameters()).device
    sizes = np.array([len(state.labels) for state in states])
    mask = np.arange(sizes.max())[None, :] < sizes[:, None]
    width = network.first.out_features
    context, labels = np.zeros((*mask.shape, width), dtype=np.float32), np.zeros(mask.shape, dtype=np.float32)
    context[mask] = np.concatenate([state.context for state in states])
    labels[mask] = np.concatenate([state.labels for state in states])
    with torch.inference_mode():
        shown = both_orders(network, tokens.to(device))  # (users, targets, 2, width)
        tensors = (torch.as_tensor(array, device=device) for array in (context, labels, mask))
        logits = network(*tensors, shown.flatten(1, 2))
        return np.asarray(logits.unflatten(1, (-1, 2)).cpu().numpy())


def _batches(ranked: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """The users in order, cut so that no batch has more than `MOST_TOKENS` tokens with its padding."""
    batches: list[list[int]] = []
    longest = 0
    for user in ranked:
        longest = max(longest, sizes[user])
        if not batches or (len(batches[-1]) + 1) * longest > MOST_TOKENS:
            batches.append([])
            longest = sizes[user]
        batches[-1].append(user)
    return batches


@dataclass(frozen=True)
class GPOOptions:
    """Settings of `GPO`."""

    tokens: TokenKind = "difference"
    """`pair`, one prompt with both completions (paper), or `difference` or `concatenated` embeddings of the store."""
    labels: Labels = "pm1"
    """`pm1`: +1 first preferred, -1 second; `zero_pad`: 0 first, 1 second (paper), though 0 also stands for unknown."""
    standardise: bool = True
    """Embeddings by the training pairs' mean and deviation; the paper does not."""
    antisymmetric: bool = True
    """Train on half the difference of both orders' logits; the paper trains on one order at a time."""
    shape: GPOShape = field(default_factory=GPOShape)
    sampling: EpisodeSizes = field(default_factory=EpisodeSizes)
    optimization: Optimization = field(
        default_factory=lambda: Optimization(n_steps=2000, learning_rate=3e-4, check_every=10, patience=20)
    )
    """A few hundred users are learned by heart within 100 steps (docs/log.md), so dev users are asked every 10, and
    200 steps without a gain end it: labels can be ignored for the first 150 where there is much to learn."""
    pooling: Pooling = "last"
    seed: int = 0
    device: str = "cpu"

    @classmethod
    def faithful(cls) -> GPOOptions:
        """The paper's reading; rate and steps, which it does not tell or which serve a larger set, are ours."""
        return cls("pair", "zero_pad", False, False, GPOShape(has_null=False), EpisodeSizes(empty_share=0.0))


@dataclass(frozen=True, repr=False)
class TrainedGPO:
    """What was learned."""

    network: GPONetwork
    scale: Vectors
    """Shape `(dim,)`."""
    shift: Vectors
    """Shape `(dim,)`."""


class GPO(RewardModel[GPOState]):
    """A transformer that reads a user's choices and predicts the next.

    Args:
        store: Where the embeddings are.
        options: Faithful or improved, sizes, optimization.
        checkpoint: A file in which training is kept, to go on after a kill.
    """

    name = "gpo"
    options_type = GPOOptions

    def __init__(
        self, store: EmbeddingStore, options: GPOOptions | None = None, *, checkpoint: Path | None = None
    ) -> None:
        self.store, self.options, self.checkpoint = store, options or GPOOptions(), checkpoint
        self.trained: TrainedGPO | None = None
        self.curve = Curve()
        """What happened while training."""

    @property
    def style(self) -> Style:
        """How labels are written and orders are used."""
        return Style(self.options.labels, self.options.antisymmetric)

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train on episodes of the pairs' users; dev users end it in time.

        Raises:
            BadInput: If there are no pairs.
        """
        options, table = self.options, make_pair_table(pairs, self.store)
        tokens = self._tokens(table)
        scale, shift = scale_and_shift(options.tokens, tokens)
        if not options.standardise:
            scale, shift = np.ones_like(scale), np.zeros_like(shift)
        network = make_network(tokens.shape[-1], options.shape, seed=options.seed).to(options.device)
        pool = Pool.of(table, (tokens - shift) / scale, options.device)
        self.trained = TrainedGPO(network, scale, shift)
        users = [user for user in dev if user.targets]
        watched = self._episode(users) if users else None

        def dev_loss(episode: Episode) -> float:
            with torch.inference_mode():
                return float(episode_loss(network, episode, self.style))

        self.curve = train_head(
            self,
            network,
            lambda _, generator: episode_loss(network, pool.draw(options.sampling, generator), self.style),
            table.hashes,
            dev=None if watched is None else lambda: dev_loss(watched),
        )
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[GPOState]:
        """Each user's choices as tokens; nothing is fitted."""
        trained, table = self._trained(), make_context_table(contexts, self.store)
        pool = Pool.of(table, (self._tokens(table) - trained.shift) / trained.scale, self.options.device)
        second = shown_second(table).to(self.options.device)
        with torch.inference_mode():
            tokens = trained.network.project(pool.shown(torch.arange(len(table)), second)).cpu().numpy()
        labels = self.style.written(second).cpu().numpy()
        cuts = list(zip(table.offsets[:-1], table.offsets[1:], strict=True))
        return [GPOState(tokens[start:end], labels[start:end]) for start, end in cuts]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Mean margin of each completion over all of the item's completions, itself included at 0.

        For two completions the difference of the rewards is their margin.
        """
        margins = np.array([logits.margin for logits in self.compare_many(items)])
        return mean_margins([len(item.completions) for item in items], margins)

    def compare_many(self, items: Sequence[ScoreItem]) -> list[OrderLogits]:
        """Both orders of every couple of each item's completions (first before second), all users in one forward."""
        trained = self._trained()
        shown: list[Shown] = []
        owners, users = [], []
        states = {id(item.state): item.state for item in items}
        rank = {key: place for place, key in enumerate(states)}
        for item in items:
            couples = [(item.conversation, *couple) for couple in combinations(item.completions, 2)]
            shown += couples
            owners += [item.user_id] * len(couples)
            users += [rank[id(item.state)]] * len(couples)
        # Both orders are read side by side and which is first would change last bits, so it is the texts' own order:
        # a couple that is swapped flips its margin exactly.
        turned = [first > second for _, first, second in shown]
        read = [(talk, b, a) if turn else (talk, a, b) for turn, (talk, a, b) in zip(turned, shown, strict=True)]
        tokens = tokens_of(self.options.tokens, self.store, read, self.options.pooling, owners)
        scaled = torch.as_tensor((tokens - trained.shift) / trained.scale)
        logits = forward_users(trained.network, list(states.values()), np.array(users, dtype=np.int64), scaled)
        both = (tuple(map(float, pair[::-1] if turn else pair)) for turn, pair in zip(turned, logits, strict=True))
        return [OrderLogits(first, second) for first, second in both]

    def margin(self, state: GPOState, conversation: Conversation, first: str, second: str) -> float:
        """How clearly the first is preferred, averaged over both orders."""
        return self.compare_many([ScoreItem(state, conversation, (first, second))])[0].margin

    def save(self, folder: str | Path) -> None:
        """Write the model."""
        trained = self._trained()
        arrays = {f"network.{name}": t.cpu().numpy() for name, t in trained.network.state_dict().items()}
        save_head(self, folder, arrays=arrays | {"scale": trained.scale, "shift": trained.shift})

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore, *, device: str = "cpu") -> Self:
        """The model that was saved in a folder."""
        model, _, arrays = open_head(cls, folder, store)
        model.options = replace(model.options, device=device)
        dim = token_width(model.options.tokens, store.encoder.dim)
        network = GPONetwork(dim, model.options.shape)
        held = {name.removeprefix("network."): a for name, a in arrays.items() if "." in name}
        restore_module(network, held, folder)
        checked_arrays({n: a for n, a in arrays.items() if "." not in n}, {"scale": (dim,), "shift": (dim,)}, folder)
        model.trained = TrainedGPO(network.to(device).eval(), arrays["scale"], arrays["shift"])
        return model

    def _trained(self) -> TrainedGPO:
        return fitted(self.trained, self.name)

    def _tokens(self, table: PairTable) -> Vectors:
        """Unscaled tokens with the chosen completion first, `(pairs, orders, dim)`."""
        shown = [(pair.conversation, pair.chosen, pair.rejected) for pair in table.pairs]
        owners = [pair.user_id for pair in table.pairs]
        return tokens_of(self.options.tokens, self.store, shown, self.options.pooling, owners)

    def _episode(self, dev: Sequence[DevUser]) -> Episode:
        """All dev users with all their context and targets, in the orders of evaluation."""
        trained, device = self._trained(), self.options.device
        context, targets = (
            make_context_table(part, self.store)
            for part in ([user.context for user in dev], [user.targets for user in dev])
        )
        pools = [
            Pool.of(table, (self._tokens(table) - trained.shift) / trained.scale, device)
            for table in (context, targets)
        ]
        second = shown_second(context).to(device)[pools[0].places] if len(context) else pools[0].places.float()
        places = pools[1].places
        weight = pools[1].weight[places] * pools[1].real
        return Episode(
            pools[0].shown(pools[0].places, second), second, pools[0].real,
            pools[1].tokens[places], weight, shown_second(targets).to(device)[places],
            pools[0].weight[pools[0].places] * pools[0].real if len(context) else pools[0].real.float(),
        )  # fmt: skip


def shown_second(table: PairTable) -> torch.Tensor:
    """Whether each pair's chosen completion is shown second, as 0 or 1: a coin that depends on the pair alone."""
    return torch.tensor([float(int(pair.hash[-1], 16) % 2) for pair in table.pairs])
