"""VPL and PAL as their public code works: a Python loop over users, no waste added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def encode_users_in_a_loop(pairs: Any, users: Any, contexts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """mu and lv, one user after another; each context is chosen and rejected, `(pairs, dim)`."""
    found = []
    for chosen, rejected in contexts:
        vectors = pairs(chosen, rejected)
        query, key, value = users.query(vectors), users.key(vectors), users.value(vectors)
        attention = (query @ key.T / vectors.shape[-1] ** 0.5).softmax(dim=-1)
        pooled = (attention @ value).mean(dim=0)
        found.append((users.mean(pooled).clamp(-1.0, 1.0), users.log_variance(pooled).clamp(-1.0, 1.0)))
    return torch.stack([mean for mean, _ in found]), torch.stack([log_variance for _, log_variance in found])


def contexts_from_json(lines: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
    """Contexts stored as lists of floats in JSON, as the public code keeps them."""
    rows = [json.loads(line) for line in lines]
    return [(torch.tensor(row["chosen"]), torch.tensor(row["rejected"])) for row in rows]


def fit_new_users_in_a_loop(margins: Sequence[Tensor], *, strength: float, n_steps: int, rate: float) -> Tensor:
    """Mixtures of new users, each by its own Adam on its own logits; margins `(pairs, prototypes)` each."""
    found = []
    for own in margins:
        logits = torch.zeros(own.shape[1], requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=rate)
        for _ in range(n_steps):
            optimizer.zero_grad()
            loss = nn.functional.softplus(-(own @ logits.softmax(dim=0))).sum() + 0.5 * strength * (logits**2).sum()
            loss.backward()
            optimizer.step()
        found.append(logits.detach().softmax(dim=0))
    return torch.stack(found)


class LogitsOfEach:
    """Mixing logits as one tensor a user in a dict, as the public code keeps them, stepped by one Adam."""

    def __init__(self, n_users: int, n_prototypes: int) -> None:
        self.logits = [torch.zeros(n_prototypes, requires_grad=True) for _ in range(n_users)]
        self.optimizer = torch.optim.Adam(self.logits, lr=5e-3)

    def step(self, margins: Tensor) -> None:
        """One step on `(users, pairs, prototypes)`, user after user."""
        self.optimizer.zero_grad()
        losses = [
            nn.functional.softplus(-(own @ logits.softmax(dim=0))).mean()
            for own, logits in zip(margins, self.logits, strict=True)
        ]
        torch.stack(losses).sum().backward()
        self.optimizer.step()
