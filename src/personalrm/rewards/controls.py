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
from personalrm.stats.accuracy import Accuracy, correctness, mean_correctness, percent
from personalrm.stats.arrays import FloatArray
from personalrm.stats.derangements import derangements
from personalrm.stats.paired import Comparison, compare, points

ACTIVE_VARIANCE = 0.005
"""A unit is active when its variance over users is larger, in units of the model's own spread (SPL)."""
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

    def __str__(self) -> str:
        """One line of both controls."""
        line = f"{percent(self.active_share)} % of the units of a user's state are active"
        against = self.against_shuffled
        if against is None:
            return line + "; own minus another's state needs two users"
        if self.is_same_for_all:
            return "rewards are the same for everybody: whose state it is makes no difference"
        interval = f" [{points(against.low)}, {points(against.high)}]" if against.low == against.low else ""
        return f"{line}; own minus another user's state {points(against.difference)} points{interval}"


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
    against, is_same = None, len(users) > 1 and bool((units == units[0]).all())
    if len(users) > 1:
        shuffled = [
            correctness(margins(model, [states[order[place]] for place in owner], targets))
            for order in (() if is_same else derangements(len(users), N_SHUFFLES))
        ]
        against = compare(own, own if is_same else np.asarray(np.mean(shuffled, axis=0)), ids)
    return Controls(mean_correctness(own, ids), active_units(units), against, is_same)


def active_units(units: FloatArray) -> float:
    """Share of the units whose variance over users `(users, units)` exceeds `ACTIVE_VARIANCE`."""
    return float((units.var(axis=0) > ACTIVE_VARIANCE).mean())


def state_units(model: RewardModel[Any], states: Sequence[Any], pairs: Sequence[PreferencePair]) -> FloatArray:
    """Each state as numbers, `(users, units)`, in units of the model's own spread.

    They are z, the weights, or else the margins that it gives to the first probes among the pairs.
    """
    if all(hasattr(state, "z") for state in states):
        # The prior of z has spread 1. Its root mean square would not do: where all z collapsed to noise around 0, that
        # noise would be the measure of itself.
        return np.stack([state.z for state in states]).astype(np.float64)
    if all(hasattr(state, "weights") for state in states):
        units = np.stack([state.weights for state in states]).astype(np.float64)
    else:
        probes = list(pairs[:N_PROBES])
        found = margins(model, [state for state in states for _ in probes], probes * len(states))
        units = found.reshape(len(states), len(probes))
    # Rewards have no unit, so a model whose margins are all a tenth tells users apart no less; and of thirty weights on
    # the simplex none could vary by 0.005.
    spread = np.sqrt((units**2).mean())
    return np.asarray(units / spread if spread > 0 else units)
