"""What an evaluation holds out, and what it shows: users split by the one rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import split_user
from personalrm.preferences.users import User

NOBODY: Mapping[str, User] = MappingProxyType({})


@dataclass(frozen=True, repr=False)
class HeldOut:
    """Users with context to learn from and targets to be scored on."""

    context: Mapping[str, User]
    """Context pairs of every user that has a target."""
    targets: tuple[PreferencePair, ...]
    """All target pairs, user by user."""
    too_few: tuple[str, ...]
    """Users left out because they have fewer pairs than asked for."""
    without_target: tuple[str, ...]
    """Users left out because the split leaves them no target pair."""
    train: Mapping[str, User] = field(default_factory=lambda: NOBODY)
    """Users who are not scored and may be learned from with all their pairs, where the data splits its users."""
    dev: Mapping[str, User] = field(default_factory=lambda: NOBODY)
    """Users to stop training and choose settings by; never scored here."""

    unfiltered: tuple[PreferencePair, ...] = ()
    """More pairs, of anybody, that filters kept out of the benchmark; targets may be among them."""

    @property
    def has_parts(self) -> bool:
        """Whether the data splits its users."""
        return bool(self.train or self.dev)

    @property
    def learnable(self) -> Mapping[str, User]:
        """Whoever may be learned from: context pairs of the scored users, all pairs of the train users."""
        return {**self.context, **self.train}

    @property
    def user_ids(self) -> list[str]:
        """The owner of each target pair."""
        return [pair.user_id for pair in self.targets]


def hold_out(users: Iterable[User], *, min_pairs: int = 5) -> HeldOut:
    """Context and targets of every user with at least `min_pairs` pairs.

    Raises:
        BadInput: If no user has a target.
    """
    context: dict[str, User] = {}
    targets: list[PreferencePair] = []
    too_few: list[str] = []
    without_target: list[str] = []
    for user in users:
        if len(user.pairs) < min_pairs:
            too_few.append(user.user_id)
            continue
        split = split_user(user.pairs)
        if not split.target or not split.context:
            without_target.append(user.user_id)
            continue
        context[user.user_id] = User(user.user_id, tuple(split.context))
        targets += split.target
    if not targets:
        raise BadInput(
            f"no user has a target pair ({len(too_few)} have fewer than {min_pairs} pairs, "
            f"{len(without_target)} a single conversation); add pairs or lower --min-pairs"
        )
    return HeldOut(context, tuple(targets), tuple(too_few), tuple(without_target))
