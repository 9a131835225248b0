"""Low-rank bases in the manner of LoRe: everybody's reward is a mixture of a few directions.

The margin of user u is d V p_u with p_u on the simplex (the
objective is in `bases.py`). A new user fits p alone, a small problem solved for all new
users at once. One basis is plain Bradley-Terry on embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.bases import LowRankOptions, fit_bases
from personalrm.rewards.heads.pair_table import (
    PairTable,
    differences,
    item_vectors,
    make_context_table,
    make_pair_table,
    scale_of,
)
from personalrm.rewards.heads.simplex import fit_simplex
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, fitted
from personalrm.rewards.saving import checked_arrays, open_head, save_head, saved_part
from personalrm.stats.arrays import FloatArray

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""What the pull of the average user may be, chosen by loss on the dev users where there are any."""


@dataclass(frozen=True, repr=False)
class UserRows:
    """Scaled differences of several users' pairs."""

    rows: FloatArray
    """Shape `(pairs, dim)`."""
    weights: FloatArray
    """How much each pair counts, shape `(pairs,)`."""
    borders: npt.NDArray[np.int64]
    """Where each user but the first begins, shape `(users - 1,)`."""

    def margins(self, bases: FloatArray) -> list[FloatArray]:
        """Each user's margins under each basis, `(pairs, bases)`."""
        return np.split(self.rows @ bases, self.borders)

    def each(self) -> list[FloatArray]:
        """The weights of each user's pairs."""
        return np.split(self.weights, self.borders)


@dataclass(frozen=True, repr=False)
class DevRows:
    """Users whose targets may be read while a model is fitted; at least one."""

    context: UserRows
    targets: UserRows

    def loss(self, bases: FloatArray, mixed: FloatArray) -> float:
        """Mean loss of the targets under bases `(dim, bases)` and each user's weights `(users, bases)`."""
        margins = zip(self.targets.margins(bases), mixed, strict=True)
        losses = np.concatenate([np.logaddexp(0.0, -a @ p) for a, p in margins])
        return float((self.targets.weights * losses).sum() / self.targets.weights.sum())


@dataclass(frozen=True, repr=False)
class MixtureState:
    """What is known of one user: weights of the bases."""

    weights: FloatArray
    """Shape `(bases,)`, on the simplex."""


@dataclass(frozen=True, repr=False)
class Bases:
    """What was learned from all training users."""

    bases: FloatArray
    """V, shape `(dim, bases)`, of scaled embeddings."""
    scale: FloatArray
    """Shape `(dim,)`."""
    prior: FloatArray
    """Logits of the average user, shape `(bases,)`."""
    strength: float


class LowRank(RewardModel[MixtureState]):
    """Bases shared by all, mixed for each user.

    MRM and soups find their bases, or a user's weights, in other ways and inherit the rest:
    a state is a mixture for all three, and they are saved alike.

    Args:
        store: Where the embeddings are.
        options: Number of bases and strengths of the priors.
    """

    name = "low_rank"
    options_type: type[LowRankOptions] = LowRankOptions
    strengths = STRENGTHS

    def __init__(self, store: EmbeddingStore, options: LowRankOptions | None = None) -> None:
        self.store, self.options = store, options or self.options_type()
        self.learned: Bases | None = None

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Learn bases and the average user; deterministic. Dev users choose the strength and end what takes steps.

        Raises:
            BadInput: If there are no pairs.
        """
        options, table = self.options, make_pair_table(pairs, self.store)
        rows = differences(table, self.store, options.pooling)
        scale = scale_of(rows)
        users = [user for user in dev if user.targets]
        watched = None
        if users:
            parts = [user.context for user in users], [user.targets for user in users]
            watched = DevRows(*(self._rows(part, scale) for part in parts))
        bases, prior = self.learn(rows / scale, table, watched)
        self.learned = Bases(bases, scale, prior, self.first_strength)
        if watched is not None and options.n_bases > 1:
            learned, margins, weights = self.learned, watched.context.margins(bases), watched.context.each()
            mixed = {s: self.mix(margins, weights, replace(learned, strength=s)) for s in self.strengths}
            best = min(self.strengths, key=lambda strength: watched.loss(bases, mixed[strength]))
            self.learned = replace(learned, strength=best)
        return self

    @property
    def first_strength(self) -> float:
        """The pull of the average user where no dev users choose one."""
        return self.options.strength

    def learn(self, rows: FloatArray, table: PairTable, dev: DevRows | None) -> tuple[FloatArray, FloatArray]:
        """Bases, `(dim, bases)`, and the average user's logits, `(bases,)`.

        Args:
            rows: Scaled differences of the training pairs, `(pairs, dim)`.
            table: Whose they are.
            dev: Users that may end a training that takes steps, where there are any.
        """
        bases, logits = fit_bases(rows, table, self.options)
        return bases, logits.mean(axis=0)

    def mix(self, margins: Sequence[FloatArray], weights: Sequence[FloatArray], learned: Bases) -> FloatArray:
        """Weights of some users, `(users, bases)`, from each one's margins under each basis, `(pairs, bases)`."""
        return fit_simplex(margins, weights=weights, prior=learned.prior, strength=learned.strength).weights

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[MixtureState]:
        """Weights of each user, all in one solve."""
        learned = self._learned()
        if not contexts:
            return []
        own = self._rows(contexts, learned.scale)
        return [MixtureState(weights) for weights in self.mix(own.margins(learned.bases), own.each(), learned)]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """e / scale V p of each completion."""
        learned = self._learned()
        vectors, starts = item_vectors(items, self.store, self.options.pooling)
        rewards = (vectors / learned.scale) @ learned.bases  # (completions, bases)
        return [
            np.asarray(rewards[start:end] @ item.state.weights)
            for item, start, end in zip(items, starts[:-1], starts[1:], strict=True)
        ]

    def save(self, folder: str | Path) -> None:
        """Write the model."""
        learned = self._learned()
        arrays = {"bases": learned.bases, "scale": learned.scale, "prior": learned.prior}
        save_head(self, folder, arrays=arrays, strength=learned.strength)

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore) -> Self:
        """The model that was saved in a folder."""
        model, facts, arrays = open_head(cls, folder, store)
        dim, k = store.encoder.dim, model.options.n_bases
        found = checked_arrays(arrays, {"bases": (dim, k), "scale": (dim,), "prior": (k,)}, folder)
        model.learned = Bases(**found, strength=saved_part(float, facts, "strength", folder))
        return model

    def _learned(self) -> Bases:
        return fitted(self.learned, self.name)

    def _rows(self, contexts: Sequence[Sequence[PreferencePair]], scale: FloatArray) -> UserRows:
        table = make_context_table(contexts, self.store)
        rows = differences(table, self.store, self.options.pooling) / scale
        return UserRows(rows, table.weight, table.offsets[1:-1])
