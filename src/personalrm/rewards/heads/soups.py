"""Reward-model soups: one head for each cluster of training users, mixed for a new user.

Training users are clustered by their mean difference embedding (k-means). Each cluster
trains a linear Bradley-Terry head that starts at, and is pulled to, the head of everybody;
a new user's head is the heads' mixture with weights fitted on their context, or uniform.
Mixing heads and mixing their rewards is the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from personalrm.rewards.heads.bases import LowRankOptions, fit_head
from personalrm.rewards.heads.low_rank import Bases, DevRows, LowRank
from personalrm.rewards.heads.pair_table import PairTable
from personalrm.stats.arrays import FloatArray, IntArray

N_STARTS = 8
N_ROUNDS = 100


@dataclass(frozen=True)
class SoupOptions(LowRankOptions):
    """Settings of `Soup`; `n_bases` is the number of clusters."""

    mixing: Literal["fitted", "uniform"] = "fitted"
    """Whether a user's weights are fitted on their context, or all heads count equally."""
    seed: int = 0
    """Of the first centers."""


class Soup(LowRank):
    """One linear head a cluster of users, mixed for each user.

    Args:
        store: Where the embeddings are.
        options: Number of clusters, strengths, how to mix.
    """

    name = "soup"
    options_type = SoupOptions

    def learn(self, rows: FloatArray, table: PairTable, dev: DevRows | None) -> tuple[FloatArray, FloatArray]:
        """Heads, `(dim, clusters)`, and uniform logits; clusters that stay empty get the head of everybody."""
        options = self.options
        everybody = fit_head(rows, table.weight, options.ridge, np.zeros(rows.shape[1]), options.n_iterations)
        seed = options.seed if isinstance(options, SoupOptions) else 0
        cluster = cluster_users(mean_differences(rows, table), options.n_bases, seed=seed)[table.user]
        heads = [
            fit_head(rows[members], table.weight[members], options.spread, everybody, options.n_iterations)
            for members in (cluster == number for number in range(options.n_bases))
        ]
        return np.stack(heads, axis=1), np.zeros(options.n_bases)

    def mix(self, margins: Sequence[FloatArray], weights: Sequence[FloatArray], learned: Bases) -> FloatArray:
        """Fitted weights, or the same for everybody."""
        if isinstance(self.options, SoupOptions) and self.options.mixing == "uniform":
            n_heads = learned.bases.shape[1]
            return np.full((len(margins), n_heads), 1.0 / n_heads)
        return super().mix(margins, weights, learned)


def soup(heads: FloatArray, weights: FloatArray) -> FloatArray:
    """The mixture of heads `(dim, heads)` with weights `(heads,)`; all weight on one returns that one, bit for bit."""
    used = np.flatnonzero(weights)
    if len(used) == 1 and weights[used[0]] == 1.0:  # a sum with zeros would turn -0.0 into 0.0
        return heads[:, used[0]].copy()
    return np.asarray(heads @ weights)


def mean_differences(rows: FloatArray, table: PairTable) -> FloatArray:
    """What each user's choices have in common: the weighted mean of their differences, `(users, dim)`."""
    total = np.zeros((table.n_users, rows.shape[1]))
    np.add.at(total, table.user, table.weight[:, None] * rows)
    counts = np.zeros(table.n_users)
    np.add.at(counts, table.user, table.weight)
    return np.asarray(total / counts[:, None])


def cluster_users(points: FloatArray, n_clusters: int, *, seed: int) -> IntArray:
    """The cluster of each point, `(points,)`: k-means++ starts, the best of several by total distance."""
    rng = np.random.default_rng(seed)
    best: IntArray = np.zeros(len(points), dtype=np.int64)
    least = np.inf
    for _ in range(N_STARTS):
        centers = _first_centers(points, n_clusters, rng)
        for _ in range(N_ROUNDS):
            nearest = _squared_distances(points, centers).argmin(axis=1)
            moved = np.stack(
                [
                    points[nearest == number].mean(axis=0) if (nearest == number).any() else centers[number]
                    for number in range(n_clusters)
                ]
            )
            if np.array_equal(moved, centers):
                break
            centers = moved
        total = float(_squared_distances(points, centers).min(axis=1).sum())
        if total < least:
            best, least = nearest, total
    return best


def _first_centers(points: FloatArray, n_clusters: int, rng: np.random.Generator) -> FloatArray:
    """Each next center at a point, more likely the farther it is from those there are."""
    chosen = [int(rng.integers(len(points)))]
    while len(chosen) < n_clusters:
        distance = _squared_distances(points, points[chosen]).min(axis=1)
        total = distance.sum()
        share = distance / total if total > 0 else np.full(len(points), 1.0 / len(points))
        chosen.append(int(rng.choice(len(points), p=share)))
    return np.asarray(points[chosen])


def _squared_distances(points: FloatArray, centers: FloatArray) -> FloatArray:
    """Shape `(points, centers)`."""
    squares = (points**2).sum(axis=1)[:, None] - 2.0 * points @ centers.T + (centers**2).sum(axis=1)
    return np.asarray(np.maximum(squares, 0.0))
