"""GPO at evaluation: many users with ragged contexts and targets in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Vectors
from personalrm.embedding.with_torch import torch
from personalrm.rewards.heads.gpo.episodes import both_orders
from personalrm.rewards.heads.gpo.network import GPONetwork
from personalrm.rewards.reward_model import FloatArray

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
        network: Trained.
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
        real = np.arange(max(map(len, places)))[None, :] < np.array([len(own) for own in places])[:, None]
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
