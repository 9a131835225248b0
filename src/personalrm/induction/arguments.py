"""What callers of the public functions pass, checked once and made into tuples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User

T = TypeVar("T")


def one_user(pairs: User | Sequence[PreferencePair]) -> User:
    """The one user whose pairs these are."""
    if isinstance(pairs, User):
        return pairs
    given = all_of(PreferencePair, pairs, "pairs")
    if not given:
        raise BadInput("there are no pairs to fit; pass at least one preference pair")
    users = {pair.user_id for pair in given}
    if len(users) > 1:
        raise BadInput(f"fit learns one user, got the pairs of {len(users)}; use fit_users for many")
    return User(given[0].user_id, given)


def all_of(kind: type[T], values: Mapping[str, T] | Iterable[T], name: str) -> tuple[T, ...]:
    """The values of an argument, read once; of a mapping what it maps to.

    A text is refused where texts are wanted, since Python would take it for a list of letters.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise BadInput(f"{name} is of type {type(values).__name__}, not a list of {kind.__name__}; pass a list")
    given = tuple(values.values() if isinstance(values, Mapping) else values)
    for place, one in enumerate(given):
        if not isinstance(one, kind):
            raise BadInput(
                f"{name} has a value of type {type(one).__name__} at index {place}; pass {kind.__name__} only"
            )
    return given


def each_once(users: Sequence[User]) -> Sequence[User]:
    """The users, after checking that nobody is given twice."""
    twice = next((user_id for user_id, n in Counter(user.user_id for user in users).items() if n > 1), None)
    if twice is not None:
        raise BadInput(f"user {twice!r} is given twice; join their pairs into one User")
    return users
