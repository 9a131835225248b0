"""Whether a model's personal part is one: do its states differ, and does a user's own serve them better.

Posterior collapse (every user ends with the same latent) befalls not only VPL: mixtures
may all be alike, and a transformer may not look at its context. So two controls are the
same for every method: the share of active units over users, and accuracy under one's own
state minus accuracy under somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.reward_model import DevUser, RewardModel, margins
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness
from personalrm.stats.arrays import FloatArray, IntArray
from personalrm.stats.derangements import derangements
from personalrm.stats.paired import Comparison, compare

ACTIVE_VARIANCE = 0.005
"""A unit is active when its variance over users is larger (SPL)."""
N_SHUFFLES = 5
N_PROBES = 32
"""Pairs on which states without numbers of their own are compared by their effect."""


@dataclass(frozen=True)
class Controls:
    """What dev users' targets say of a model; they are spent by it."""

    own: Accuracy
    """Under each user's own state."""
    active_share: float
    """Share of units that differ between users: of z, of the weights, or else of the margins on some probes."""
    against_shuffled: Comparison | None
    """Own minus somebody else's state on the same pairs; None with fewer than two users."""
    is_same_for_all: bool = False
    """Whether the states of two users or more do not differ at all."""


def controls(model: RewardModel[Any], users: Sequence[DevUser]) -> Controls | None:
    """The controls of a fitted model on users it was not trained on; None without any.

    Args:
        model: Any method.
        users: With context and targets.
    """
    users = [user for user in users if user.targets]
    if not users:
        return None
    states = model.condition_many([user.context for user in users])
    targets = [pair for user in users for pair in user.targets]
    owner = np.repeat(np.arange(len(users)), [len(user.targets) for user in users])
    own = correctness(margins(model, [states[place] for place in owner], targets))
    units = state_units(model, states, targets)
    ids = [pair.user_id for pair in targets]
    against, is_same = None, len(users) > 1 and not units.var(axis=0).any()
    if len(users) > 1:
        against = compare(own, own if is_same else _shuffled(model, states, owner, targets), ids)
    return Controls(mean_correctness(own, ids), active_units(units), against, is_same)


def active_units(units: FloatArray) -> float:
    """Share of the units whose variance over users `(users, units)` exceeds `ACTIVE_VARIANCE`."""
    return float((units.var(axis=0) > ACTIVE_VARIANCE).mean())


def state_units(model: RewardModel[Any], states: Sequence[Any], pairs: Sequence[PreferencePair]) -> FloatArray:
    """Each state as numbers, `(users, units)`: its own, or the margins it gives to the first probes among the pairs."""
    for name in ("z", "weights"):
        if all(hasattr(state, name) for state in states):
            return np.stack([getattr(state, name) for state in states]).astype(np.float64)
    probes = list(pairs[:N_PROBES])
    found = margins(model, [state for state in states for _ in probes], probes * len(states))
    return found.reshape(len(states), len(probes))


def _shuffled(
    model: RewardModel[Any], states: Sequence[Any], owner: IntArray, targets: Sequence[PreferencePair]
) -> FloatArray:
    """Correctness of each target under other users' states, the mean over derangements, `(pairs,)`."""
    drawn = derangements(len(states), N_SHUFFLES)
    found = [correctness(margins(model, [states[order[place]] for place in owner], targets)) for order in drawn]
    return np.asarray(np.mean(found, axis=0))
