"""The split rule: which pairs of a user a method may see, and which it is scored on.

One rule everywhere (paper, section 4: about 50/20/30 %): conversations in time order,
the first 70 % are context, the first 70 % of those are train. A conversation
never straddles a border. An input that carries its own `split` is obeyed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair


@dataclass(frozen=True, repr=False)
class UserSplit:
    """One user's pairs in three parts, each in time order."""

    train: tuple[PreferencePair, ...]
    validation: tuple[PreferencePair, ...]
    target: tuple[PreferencePair, ...] = ()

    @property
    def context(self) -> tuple[PreferencePair, ...]:
        """What a method may see: train, then validation."""
        return self.train + self.validation

    def __repr__(self) -> str:
        return f"UserSplit(train={len(self.train)}, validation={len(self.validation)}, target={len(self.target)})"


def n_of_share(n: int) -> int:
    """max(1, floor(0.7 n + 0.5)): how many of n conversations go to the earlier part.

    >>> [n_of_share(n) for n in (1, 2, 3, 5, 10)]
    [1, 1, 2, 4, 7]
    """
    # In floating point on purpose: 0.7 * 45 is a little below 31.5, and the published counts (815 target pairs of
    # MT-Bench) come from this arithmetic, not from exact tenths.
    return max(1, math.floor(0.7 * n + 0.5))


def in_time_order(pairs: Sequence[PreferencePair]) -> list[list[PreferencePair]]:
    """The user's conversations, earliest first, each a list of its pairs.

    Timestamps order them if every pair has one, else `order_index` if every pair has
    one, else the order of the rows.
    """
    if all(pair.timestamp is not None for pair in pairs):
        times = [float(pair.timestamp or 0.0) for pair in pairs]
    elif all(pair.order_index is not None for pair in pairs):
        times = [float(pair.order_index or 0) for pair in pairs]
    else:
        times = [0.0] * len(pairs)
    rows = sorted(range(len(pairs)), key=lambda row: (times[row], row))
    conversations: dict[str, list[PreferencePair]] = {}
    for row in rows:
        conversations.setdefault(pairs[row].conversation_key, []).append(pairs[row])
    return list(conversations.values())


def split_context(pairs: Sequence[PreferencePair]) -> UserSplit:
    """All pairs as context: train and validation by the rule, rows called target left out."""
    if any(pair.split for pair in pairs):
        return _declared(pairs, keep_target=False)
    conversations = in_time_order(pairs)
    n_train = n_of_share(len(conversations))
    if len(conversations) >= 2:
        n_train = min(n_train, len(conversations) - 1)
    return UserSplit(_flat(conversations[:n_train]), _flat(conversations[n_train:]))


def split_user(pairs: Sequence[PreferencePair]) -> UserSplit:
    """Train, validation and target of one user.

    A user with a single conversation has no target; the caller counts such users.

    Raises:
        BadInput: If there are no pairs or they belong to several users.
    """
    if not pairs:
        raise BadInput("there are no pairs to split; pass the pairs of one user")
    users = {pair.user_id for pair in pairs}
    if len(users) > 1:
        raise BadInput(f"a split is made within one user, got the pairs of {len(users)} users; split them one by one")
    if any(pair.split for pair in pairs):
        return _declared(pairs, keep_target=True)
    conversations = in_time_order(pairs)
    n_context = n_of_share(len(conversations))
    context = split_context([pair for conversation in conversations[:n_context] for pair in conversation])
    return UserSplit(context.train, context.validation, _flat(conversations[n_context:]))


def _declared(pairs: Sequence[PreferencePair], *, keep_target: bool) -> UserSplit:
    """The parts the input names; a pair it does not name is train."""
    ordered = _flat(in_time_order(pairs))
    return UserSplit(
        train=tuple(pair for pair in ordered if pair.split in (None, "train")),
        validation=tuple(pair for pair in ordered if pair.split == "validation"),
        target=tuple(pair for pair in ordered if keep_target and pair.split == "target"),
    )


def _flat(conversations: Sequence[Sequence[PreferencePair]]) -> tuple[PreferencePair, ...]:
    return tuple(pair for conversation in conversations for pair in conversation)
