"""Values made of objects, kept for as long as the same objects come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST = 256


class Recent(Generic[Value]):
    """The latest values by the very objects they were made of; those must not change.

    Objects are told apart by identity, which costs nothing; equal ones may be made twice.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], tuple[tuple[object, ...], Value]] = OrderedDict()

    def of(self, objects: tuple[object, ...], make: Callable[[], Value]) -> Value:
        """The value of these objects, made now if it is not there."""
        key = tuple(map(id, objects))
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = kept = (objects, make())  # the objects too, so that their ids stay theirs
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return kept[1]
