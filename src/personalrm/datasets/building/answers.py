"""Models that a build asks, and their answers on disk.

Every model has a file of its own in the build's folder. Unlike the home folder's cache,
its keys are not held in memory: a build asks millions of questions once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache, Unscored
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.prices import Price
from personalrm.lm.protocol import LM, Reply
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.preferences.messages import digest


class _Everything(set[bytes]):
    """Keys that may be on disk: all of them, so that each request is looked up there."""

    def __contains__(self, key: object) -> bool:
        return True

    def add(self, key: bytes) -> None:
        """Nothing to remember."""


class DiskAnswers(Cache):
    """Answers of one model; a look-up a request instead of every key in memory.

    Args:
        path: The file.
        retry_unscored: Whether requests without a usable answer are asked again.
    """

    def __init__(self, path: str | Path, *, retry_unscored: bool = False) -> None:
        super().__init__(path)
        self._retry_unscored = retry_unscored

    def open(self) -> set[bytes]:
        """Open or make the file; every key may be in it."""
        super().open()
        return _Everything()

    def unscored_keys(self) -> set[bytes]:
        """None in memory: `find` knows them."""
        return set()

    def find(self, keys: Sequence[bytes]) -> list[Reply | Unscored | None]:
        """What is kept under each key."""
        found = super().find(keys)
        return [None if self._retry_unscored and isinstance(one, Unscored) else one for one in found]


@dataclass(frozen=True)
class Asking:
    """How models are asked: what all of them share."""

    retry: Retry = field(default_factory=Retry)
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    """With a pot, one sum for all models together."""
    retry_unscored: bool = False


def open_caller(model: ModelName | LM, folder: Path, asking: Asking, price: Price | None = None) -> Caller:
    """A caller whose answers are kept in the folder; nothing is asked and no file is made yet.

    Raises:
        UnknownName: If the model's name says not enough, or its price is unknown and a cost ceiling is set.
    """
    lm = open_model(model) if isinstance(model, ModelName) else model
    path = folder / f"answers-{digest(lm.identity)}.sqlite"
    return Caller(
        lm,
        cache=DiskAnswers(path, retry_unscored=asking.retry_unscored),
        retry=asking.retry,
        limits=asking.limits,
        budget=asking.budget,
        price=price,
        retry_unscored=asking.retry_unscored,
    )
