"""The stages that ask nobody: grouping the source by user, the user filter, the user split, the pair split."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, get_args

from personalrm.datasets.building.funnel import StageTally
from personalrm.datasets.published import USER_SPLIT, USER_SPLITS
from personalrm.datasets.sources import OpenSource
from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import SplitName
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.preferences.splits import split_user
from personalrm.preferences.users import User

IN_MEMORY = 2_000
"""Pairs of the source held before they are grouped on disk; memory then does not grow with the source."""


Users = Callable[[], Iterator[User]]
"""The users a stage begins with, as often as it wants to go through them."""


class Stage(Protocol):
    """One step of a build: users in, users out, everything removed told to the tally."""

    @property
    def name(self) -> str:
        """What files and tables call it."""
        ...

    @property
    def title(self) -> str:
        """The same in words."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """All that decides what it does, as JSON values."""
        ...

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """The users that are left, each with the pairs that are left, in the order they came."""
        ...


@dataclass(frozen=True)
class Original:
    """Every pair of the source, grouped by user; exact copies are removed."""

    source: OpenSource
    name: str = "original"
    title: str = "original"

    def settings(self) -> Mapping[str, Any]:
        """Files by hash, and how they are read."""
        names = ("layout", "user_column", "default_user", "min_gap", "skip_bad")
        return {"files": self.source.hashes(), **{name: getattr(self.source.options, name) for name in names}}

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """Begins with nobody and reads the source."""
        read = self.source.tally
        for user in group_by_user(self.source.pairs(), report=read.add_bad, in_memory=IN_MEMORY):
            tally.note("exact copies, left out", user.n_duplicates)
            tally.note("pairs with both outcomes, kept", user.n_both_outcomes)
            yield user
        tally.note("rows", read.n_rows)
        tally.note("bad rows, left out", read.n_bad_rows)
        tally.note("scored responses", self.source.n_responses)
        for reason, count in read.dropped.items():
            tally.note(f"no pair: {reason}", count)


@dataclass(frozen=True)
class UserFilter:
    """Only users with enough pairs."""

    min_pairs: int = 5
    name: str = "user_filter"
    title: str = "user filter"

    def settings(self) -> Mapping[str, Any]:
        """The least number of pairs."""
        return {"min_pairs": self.min_pairs}

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """Whoever has at least `min_pairs` pairs."""
        for user in users():
            if len(user) >= self.min_pairs:
                yield user
            else:
                for pair in user.pairs:
                    tally.remove(pair, f"user with fewer than {self.min_pairs} pairs")


@dataclass(frozen=True)
class UserSplitStage:
    """Train, dev and test users, stratified by number of pairs; nobody is removed."""

    shares: tuple[float, float, float] = (0.4, 0.1, 0.5)
    seed: int = 0
    name: str = "user_split"
    title: str = "user split"

    def settings(self) -> Mapping[str, Any]:
        """Shares and seed."""
        return {"shares": list(self.shares), "seed": self.seed}

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """Every pair with its user's split in `meta`."""
        # Two passes: who belongs where depends on everybody's number of pairs. Only ids and numbers are held.
        splits = split_users({user.user_id: len(user) for user in users()}, self.shares, self.seed)
        for user in users():
            split = splits[user.user_id]
            tally.note(f"{split} users")
            yield replace(
                user, pairs=tuple(replace(pair, meta={**pair.meta, USER_SPLIT: split}) for pair in user.pairs)
            )


def split_users(sizes: Mapping[str, int], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Train, dev or test for each user, so that every range of sizes is shared out alike.

    Users are ordered by number of pairs, then by a seeded hash of the id, and dealt in runs
    of twenty; the last, shorter run is dealt so that no prefix of it is far from the shares.

    Args:
        sizes: Number of pairs of each user.
        shares: Of train, dev and test users; they add up to 1.
        seed: Of the draw.

    >>> from collections import Counter
    >>> sorted(Counter(split_users({str(k): 5 + k for k in range(20)}, (0.4, 0.1, 0.5), 0).values()).items())
    [('dev', 2), ('test', 10), ('train', 8)]
    """
    order = sorted(sizes, key=lambda user_id: (-sizes[user_id], digest(seed, user_id)))
    splits: dict[str, str] = {}
    for start in range(0, len(order), RUN):
        run = order[start : start + RUN]
        # each place is given to the share that is furthest behind (ties to the larger share)
        given = [0] * len(shares)
        for k in range(1, len(run) + 1):
            behind = max(range(len(shares)), key=lambda place: (shares[place] * k - given[place], shares[place]))
            given[behind] += 1
        dealt = [place for place, n in enumerate(given) for _ in range(n)]
        random.Random(f"{seed} {start}").shuffle(dealt)
        splits |= {user_id: USER_SPLITS[place] for user_id, place in zip(run, dealt, strict=True)}
    return splits


RUN = 20
"""Users dealt together: the smallest number in which 40, 10 and 50 % are whole and even."""


@dataclass(frozen=True)
class PairSplit:
    """Train, validation and target pairs inside each user, in time order, conversations whole."""

    name: str = "pair_split"
    title: str = "pair split"

    def settings(self) -> Mapping[str, Any]:
        """Nothing to set: the rule is `preferences/splits.py`."""
        return {}

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """Every pair with its split; people with a single conversation have no target and are counted."""
        for user in users():
            parts = split_user(user.pairs)
            tally.note("users without a target pair", int(not parts.target))
            split_of: dict[str, SplitName] = {}
            for name in get_args(SplitName):
                pairs = getattr(parts, name)
                tally.note(f"{name} pairs", len(pairs))
                split_of |= {pair.hash: name for pair in pairs}
            yield replace(user, pairs=tuple(replace(pair, split=split_of[pair.hash]) for pair in user.pairs))
