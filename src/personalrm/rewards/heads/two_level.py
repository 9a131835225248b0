"""Style and content on two levels: everybody's weights, and one user's deviation from them.

The margin of a couple of completions is phi (w + v_u), phi the blocks of `couples.py`. Both levels are
Gaussian, w ~ N(0, S) and v_u ~ N(0, D), diagonal, one variance a block:

    w   minimizes  sum_i c_i log(1 + exp(-phi_i w)) + w S^-1 w / 2        over all training pairs
    v_u minimizes  sum_i c_i log(1 + exp(-phi_i (w + v))) + v D^-1 v / 2  over the user's

It is averaged with the embedded engine, whose spread of tastes is learned (EP) instead of set. No
optimizer step is taken, nothing is random, and dev users are not needed. An extension of ours; the
defaults were chosen on the development half of PRISM (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Self

import numpy as np

from personalrm.embedding.encoders import Pooling
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.bases import fit_head
from personalrm.rewards.heads.couples import N_STYLE, Scales, Shown, columns, couples_of, mean_margins, scales_of
from personalrm.rewards.heads.pair_table import PairTable, make_context_table, make_pair_table
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, fitted
from personalrm.rewards.saving import checked_arrays, open_head, save_head, saved_part
from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.observations import observe
from personalrm.stylometry.population import Prior, estimate_population
from personalrm.stylometry.shipped import shipped_prior
from personalrm.stylometry.weights import fit_weights

MOST_STEPS = 100
ENOUGH = 1e-8
"""Change of the objective at which Newton's steps end."""


@dataclass(frozen=True)
class TwoLevelOptions:
    """Settings of `TwoLevel`: variances of weights in units in which a block's difference has length about 1."""

    pooling: Pooling = "last"
    style: float = 1 / 40
    """Everybody's weights of each style feature, half of it on its signed root."""
    embedding: float = 0.3
    nearness: float = 0.1
    product: float = 0.3
    own_style: float = 0.05
    """How much one user's weights differ; 0 leaves them everybody's."""
    own_embedding: float = 3.0
    engine: float = 0.5
    """Share of the embedded engine's margin; 0 leaves it out."""
    n_iterations: int = 200
    """Most L-BFGS iterations for everybody's weights."""

    def __post_init__(self) -> None:
        everybody = (self.style, self.embedding, self.nearness, self.product)
        if not all(0 < value < np.inf for value in everybody):
            raise BadInput(f"style, embedding, nearness and product must be positive, got {everybody!r}")
        if not all(0 <= value < np.inf for value in (self.own_style, self.own_embedding)):
            raise BadInput(f"own_style and own_embedding must be at least 0, got {self.own_style!r}, "
                           f"{self.own_embedding!r}")  # fmt: skip
        if not 0 <= self.engine <= 1 or self.n_iterations < 1:
            raise BadInput(
                f"engine must lie in [0, 1] and n_iterations be at least 1, got {self.engine!r}, {self.n_iterations!r}"
            )

    def shared(self, dim: int) -> FloatArray:
        """Diagonal of S, shape `(columns,)`."""
        return _by_column(dim, self.style / 2, self.embedding, self.nearness, self.product)

    def own(self, dim: int) -> FloatArray:
        """Diagonal of D, shape `(columns,)`."""
        return _by_column(dim, self.own_style / 2, self.own_embedding, 0.0, 0.0)


@dataclass(frozen=True, repr=False)
class TwoLevelState:
    """What is known of one user."""

    weights: FloatArray
    """Of all columns, the engine's share included, shape `(columns,)`."""


@dataclass(frozen=True, repr=False)
class Everybody:
    """What was learned from all training users."""

    scales: Scales
    weights: FloatArray
    """w, shape `(columns,)`."""
    prior: Prior
    """Of the embedded engine."""


class TwoLevel(RewardModel[TwoLevelState]):
    """Style and content, everybody's weights and the user's.

    Args:
        store: Where the embeddings are.
        options: Variances and the engine's share.
    """

    name = "two_level"
    options_type = TwoLevelOptions

    def __init__(self, store: EmbeddingStore, options: TwoLevelOptions | None = None) -> None:
        self.store, self.options = store, options or TwoLevelOptions()
        self.learned: Everybody | None = None

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Learn everybody's weights; deterministic. Dev users are not used.

        Raises:
            BadInput: If there are no pairs.
        """
        table = make_pair_table(pairs, self.store)
        couples = couples_of(self.store, *self._shown(table))
        scales = scales_of(couples)
        spread = np.sqrt(self.options.shared(self.store.encoder.dim))
        rows = columns(couples, scales) * spread
        found = fit_head(rows, table.weight, 1.0 / len(spread), np.zeros(len(spread)), self.options.n_iterations)
        borders = list(pairwise(table.offsets))
        if len(borders) < 2:  # one user says nothing of how people differ
            prior = shipped_prior()
        else:
            engine = estimate_population({str(n): observe(table.pairs[a:b]) for n, (a, b) in enumerate(borders)})
            prior = Prior(engine.scale, engine.mean, engine.variance, len(borders))
        self.learned = Everybody(scales, found * spread, prior)
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[TwoLevelState]:
        """Each user's weights; cost is one small problem a user."""
        learned = self._learned()
        table = make_context_table(contexts, self.store)
        phi = columns(couples_of(self.store, *self._shown(table)), learned.scales)
        engine = fit_weights([observe(context) for context in contexts], [learned.prior] * len(contexts))
        states = []
        for user, weights in enumerate(engine):
            own = slice(int(table.offsets[user]), int(table.offsets[user + 1]))
            deviation = fit_deviation(
                phi[own], table.weight[own], phi[own] @ learned.weights, self.options.own(self.store.encoder.dim)
            )
            # The margin of the joined weights is the mean of both models' margins by the engine's share.
            joined = (1.0 - self.options.engine) * (learned.weights + deviation)
            joined[:N_STYLE] += self.options.engine * weights.mean * learned.scales.style / learned.prior.scale
            states.append(TwoLevelState(joined))
        return states

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Mean margin of each completion over all of the item's; of two, the difference is their margin."""
        learned = self._learned()
        shown: list[Shown] = [
            (item.conversation, *couple) for item in items for couple in combinations(item.completions, 2)
        ]
        counts = [len(item.completions) for item in items]
        couples = np.array([n * (n - 1) // 2 for n in counts], dtype=np.int64)
        of_item = np.repeat(np.arange(len(items)), couples)
        owners = [items[place].user_id for place in of_item.tolist()]
        phi = columns(couples_of(self.store, shown, self.options.pooling, owners), learned.scales)
        weights = np.array([item.state.weights for item in items]).reshape(len(items), phi.shape[1])
        return mean_margins(counts, (phi * weights[of_item]).sum(axis=1))

    def save(self, folder: str | Path) -> None:
        """Write the model."""
        learned = self._learned()
        prior = {f"prior.{name}": getattr(learned.prior, name) for name in ("scale", "mean", "variance")}
        scales = {f"scales.{name}": array for name, array in vars(learned.scales).items()}
        save_head(self, folder, arrays={**prior, **scales, "weights": learned.weights}, n_users=learned.prior.n_users)

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore) -> Self:
        """The model that was saved in a folder.

        Raises:
            StoreError: If there is no model or it cannot be read.
            CorruptFile: If a file is damaged.
            BadInput: If it is of another encoder.
        """
        model, facts, arrays = open_head(cls, folder, store)
        n_users = saved_part(int, facts, "n_users", folder)
        of_style = ("scales.style", "scales.roots", "prior.scale", "prior.mean", "prior.variance")
        shapes = {"scales.lengths": (3,), "weights": (2 * N_STYLE + 2 * store.encoder.dim + 1,)}
        held = checked_arrays(arrays, {**shapes, **dict.fromkeys(of_style, (N_STYLE,))}, folder)
        scales = Scales(*(held[f"scales.{name}"] for name in ("style", "roots", "lengths")))
        prior = Prior(held["prior.scale"], held["prior.mean"], held["prior.variance"], n_users)
        model.learned = Everybody(scales, held["weights"], prior)
        return model

    def _learned(self) -> Everybody:
        return fitted(self.learned, self.name)

    def _shown(self, table: PairTable) -> tuple[list[Shown], Pooling, list[str]]:
        shown = [(pair.conversation, pair.chosen, pair.rejected) for pair in table.pairs]
        return shown, self.options.pooling, [pair.user_id for pair in table.pairs]


def fit_deviation(phi: FloatArray, weights: FloatArray, offset: FloatArray, variance: FloatArray) -> FloatArray:
    """The MAP deviation v of one user, shape `(columns,)`, by Newton's method.

    v = D phi' a for some a, one number a pair; what is solved has the size of the pairs or of the columns that may
    deviate, whichever is smaller.

    Args:
        phi: Columns of the user's pairs, chosen minus rejected, shape `(pairs, columns)`.
        weights: How much each pair counts, shape `(pairs,)`.
        offset: Margins under everybody's weights, shape `(pairs,)`.
        variance: Diagonal of D, shape `(columns,)`.
    """
    root = phi[:, variance > 0] * np.sqrt(variance[variance > 0])  # (pairs, columns that may deviate)
    solve = _solver(root)
    a, added = np.zeros(len(phi)), np.zeros(len(phi))
    value = float(weights @ np.logaddexp(0.0, -offset))
    for _ in range(MOST_STEPS):
        p = 1.0 / (1.0 + np.exp(np.clip(offset + added, -500.0, 500.0)))
        h = weights * p * (1.0 - p)
        toward = solve(h, h * added + weights * p) - a
        step = 1.0
        while True:
            new = a + step * toward
            moved = new @ root
            found = float(weights @ np.logaddexp(0.0, -(offset + root @ moved)) + 0.5 * moved @ moved)
            if found <= value or step < ENOUGH:
                break
            step /= 2.0
        gain, a, added, value = value - found, new, root @ moved, found
        if gain < ENOUGH:
            break
    return np.asarray(variance * (a @ phi))


def _solver(root: FloatArray) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """A function of h and b, shape `(pairs,)` each, to (I + H R R')^-1 b, R being the root `(pairs, columns)`."""
    n_pairs, n_columns = root.shape
    if n_pairs <= n_columns:
        k = root @ root.T
        return lambda h, b: np.asarray(np.linalg.solve(np.eye(n_pairs) + h[:, None] * k, b))

    def solve(h: FloatArray, b: FloatArray) -> FloatArray:
        weighted = h[:, None] * root
        inner = np.linalg.solve(np.eye(n_columns) + root.T @ weighted, root.T @ b)
        return np.asarray(b - weighted @ inner)  # the matrix inversion lemma

    return solve


def _by_column(dim: int, style: float, embedding: float, nearness: float, product: float) -> FloatArray:
    return np.repeat([style, embedding, nearness, product], [2 * N_STYLE, dim, 1, dim])
