"""How often a change of taste is found where there is none, and where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.datasets.personalizable import wilson
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import in_time_order
from personalrm.preferences.users import User
from personalrm.stats.bootstrap import Interval
from personalrm.stylometry.drift import LEAST_SIDE, Turn, find_turn
from personalrm.stylometry.observations import Timeline, observe, observe_in_time
from personalrm.stylometry.population import Prior, estimate_population
from personalrm.stylometry.weights import fit_weights

NEAR = 2
"""A turning point found within so many conversations of the true one counts as found."""


@dataclass(frozen=True)
class ShareFound:
    """Share of timelines in which a change was found."""

    n_timelines: int
    """Timelines long enough to be looked at."""
    n_found: int
    n_near: int
    """Those found within `NEAR` conversations of the true turning point; 0 where there is none."""

    @property
    def interval(self) -> Interval:
        """95 % interval of the share found (Wilson), timelines being independent."""
        return Interval(*wilson(self.n_found, self.n_timelines))


def find_in(users: Sequence[User], priors: Mapping[str, Prior]) -> list[tuple[Timeline, Turn | None]]:
    """The timeline of each user, and the change found in it."""
    timelines = [observe_in_time(user.pairs) for user in users]
    weights = fit_weights([timeline.choices for timeline in timelines], [priors[user.user_id] for user in users])
    return [(timeline, find_turn(timeline, fit)) for timeline, fit in zip(timelines, weights, strict=True)]


def count_found(users: Sequence[User], priors: Mapping[str, Prior], *, turn: int | None = None) -> ShareFound:
    """How many of the users are found to have changed.

    Args:
        users: Whose timelines are looked at.
        priors: The prior of each.
        turn: The conversation (from 0) with which all of them changed, where they did.

    Raises:
        BadInput: If no timeline is long enough.
    """
    found = [(timeline, one) for timeline, one in find_in(users, priors) if timeline.n_conversations >= 2 * LEAST_SIDE]
    if not found:
        raise BadInput(f"no user has {2 * LEAST_SIDE} conversations, so no change can be found; add pairs")
    turns = [one for _, one in found if one is not None]
    n_near = sum(turn is not None and abs(one.first - turn) <= NEAR for one in turns)
    return ShareFound(len(found), len(turns), n_near)


def priors_of(users: Sequence[User]) -> dict[str, Prior]:
    """The prior of each user, learned from all the others."""
    population = estimate_population({user.user_id: observe(user.pairs) for user in users})
    return {user.user_id: population.prior_for(user.user_id) for user in users}


def shuffled(users: Sequence[User], n_times: int, *, seed: int = 0) -> Iterator[User]:
    """Each user `n_times`, every time with their conversations in another random order: nobody's taste changes then."""
    rng = np.random.default_rng(seed)
    for user in users:
        conversations = in_time_order(user.pairs)
        for _ in range(n_times):
            yield User(user.user_id, _numbered(conversations, rng.permutation(len(conversations)).tolist()))


def _numbered(conversations: Sequence[Sequence[PreferencePair]], order: Sequence[int]) -> tuple[PreferencePair, ...]:
    """The pairs in a new order of their conversations, which their place alone tells."""
    moved = [pair for place in order for pair in conversations[place]]
    return tuple(replace(pair, timestamp=None, order_index=place) for place, pair in enumerate(moved))
