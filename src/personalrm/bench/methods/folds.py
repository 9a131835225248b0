"""Which users stand in which fold and who of them stops a training, by hashes of their ids."""

from __future__ import annotations

import hashlib

from personalrm.preferences.splits import split_context, split_user
from personalrm.preferences.users import User
from personalrm.rewards.reward_model import DevUser

N_FOLDS = 5
DEV_SHARE = 0.2
"""Share of the training users whose validation pairs decide when to stop."""


def fold_of(user_id: str, n_folds: int) -> int:
    """The fold of a user, by a hash of their id."""
    return _byte("fold", user_id) % n_folds


def is_dev(user: User) -> bool:
    """Whether a user is one of those who stop a training, by a hash of their id."""
    return _byte("dev", user.user_id) < 256 * DEV_SHARE


def as_dev(user: User, *, is_scored: bool) -> DevUser:
    """A dev user by their own targets; a user who is scored elsewhere by the validation pairs of their context."""
    if is_scored:
        split = split_context(user.pairs)
        return DevUser(split.train, split.validation)
    split = split_user(user.pairs)
    return DevUser(split.context, split.target)


def _byte(what: str, user_id: str) -> int:
    return hashlib.sha256(f"{what} {user_id}".encode("utf-8", "surrogatepass")).digest()[0]
