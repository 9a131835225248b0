"""Populations with planted tastes: completions whose vectors are drawn, choices by known weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.simulations.planted_encoder import PlantedEncoder

from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.reward_model import RewardModel, margins

QUESTION = (Message("user", "What shall I do today?"),)


@dataclass(frozen=True)
class Population:
    """Users with known weights, their pairs, and the store that holds the vectors."""

    weights: np.ndarray
    """Shape `(users, dim)`."""
    pairs: list[list[PreferencePair]]
    """Of each user."""
    store: EmbeddingStore

    def flat(self, users: Sequence[int], n_pairs: int | None = None) -> list[PreferencePair]:
        """The first pairs of some users, one list."""
        return [pair for user in users for pair in self.pairs[user][:n_pairs]]


def plant(folder: Path, weights: np.ndarray, n_pairs: int, *, seed: int = 0, noise: float = 0.0) -> Population:
    """Pairs of normal vectors, chosen by each user's weights.

    Args:
        folder: Where the store goes.
        weights: Shape `(users, dim)`.
        n_pairs: Of each user.
        seed: Of vectors and noise.
        noise: Scale of the logistic noise on a margin; 0 chooses without error, 1 is Bradley-Terry.
    """
    rng = np.random.default_rng(seed)
    n_users, dim = weights.shape
    x = rng.normal(size=(n_users, n_pairs, 2, dim)).astype(np.float16).astype(np.float64)
    margin = np.einsum("unkd,ud->unk", x, weights) @ np.array([1.0, -1.0]) + noise * rng.logistic(
        size=(n_users, n_pairs)
    )
    vectors, pairs = {}, []
    for user in range(n_users):
        own = []
        for place in range(n_pairs):
            texts = [f"{seed} {user} {place} {side}" for side in "ab"]
            vectors |= dict(zip(texts, x[user, place], strict=True))
            chosen, rejected = texts if margin[user, place] > 0 else texts[::-1]
            own.append(PreferencePair(f"u{user}", QUESTION, chosen, rejected, f"c{place}", order_index=place))
        pairs.append(own)
    return Population(weights, pairs, EmbeddingStore(folder, PlantedEncoder(dim, vectors)))


def accuracy(model: RewardModel, population: Population, users: Sequence[int], n_context: int) -> float:
    """Share of the pairs after the context that the model gets right; ties count half."""
    states = model.condition_many([population.pairs[user][:n_context] for user in users])
    targets = [population.pairs[user][n_context:] for user in users]
    found = margins(
        model,
        [state for state, own in zip(states, targets, strict=True) for _ in own],
        [pair for own in targets for pair in own],
    )
    return float((0.5 * (1.0 + np.sign(found))).mean())
