"""Which users make a cluster, and each cluster's adapter trained from everybody's (reward_models.md, 7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards import watching
from personalrm.rewards.heads.soups import cluster_users
from personalrm.rewards.language.bradley_terry.adapter_soups import Adapter
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.reward_model import DevUser, FloatArray


@dataclass(frozen=True, repr=False)
class Part:
    """The users of one cluster."""

    pairs: tuple[PreferencePair, ...]
    dev: tuple[DevUser, ...]
    """Dev users whose context is nearest to it."""


def cluster(
    model: BradleyTerry, pairs: Sequence[PreferencePair], dev: Sequence[DevUser], n_clusters: int
) -> list[Part]:
    """The parts of the training pairs and dev users, one a cluster; some may be empty.

    Args:
        model: Everybody's; its hidden states are the embedding.
        pairs: What it was trained on.
        dev: Dev users; those without context belong to the first cluster.
        n_clusters: How many.
    """
    differences, owners = model.differences(pairs), [pair.user_id for pair in pairs]
    users = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}
    rows = np.array([users[owner] for owner in owners])
    scale = np.sqrt((differences**2).mean(axis=0))
    scaled = differences / np.where(scale > 0, scale, 1.0)
    points = np.stack([scaled[rows == place].mean(axis=0) for place in range(len(users))])
    of_user = cluster_users(points, n_clusters, seed=model.options.seed)
    centres = {k: points[of_user == k].mean(axis=0) for k in np.unique(of_user)}
    near = [_nearest(model, user, centres, scale) for user in dev]
    return [
        Part(
            tuple(pair for pair, row in zip(pairs, rows, strict=True) if of_user[row] == k),
            tuple(user for user, own in zip(dev, near, strict=True) if own == k),
        )
        for k in range(n_clusters)
    ]


def train_adapters(model: BradleyTerry, parts: Sequence[Part], *, checkpoint: Path | None) -> tuple[Adapter, ...]:
    """One adapter a part, each from where the model stands, which ends up there again; an empty part gets that one.

    Args:
        model: Everybody's, trained.
        parts: From `cluster`.
        checkpoint: File of everybody's training; each part's stands beside it.
    """
    start, training, curve = model.adapter(), model.training, model.curve
    adapters = []
    for number, part in enumerate(parts):
        model.wear(start)
        if part.pairs:
            model.checkpoint = checkpoint.with_stem(f"{checkpoint.stem}-{number}") if checkpoint else None
            with watching.part(f"adapter {number + 1} of {len(parts)}"):
                model.go_on(part.pairs, dev=part.dev)
        adapters.append(model.adapter())
    model.wear(start)
    model.training, model.curve, model.checkpoint = training, curve, checkpoint
    return tuple(adapters)


def _nearest(model: BradleyTerry, user: DevUser, centres: dict[int, FloatArray], scale: FloatArray) -> int:
    if not user.context:
        return 0
    point = model.differences(user.context).mean(axis=0) / np.where(scale > 0, scale, 1.0)
    return min(centres, key=lambda k: float(((point - centres[k]) ** 2).sum()))
