"""Models that a build asks; the answers of each are kept in a file of its own in the build's folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.prices import Price
from personalrm.lm.protocol import LM
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.preferences.messages import digest


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
    return Caller(
        lm,
        cache=Cache(folder / f"answers-{digest(lm.identity)}.sqlite"),
        retry=asking.retry,
        limits=asking.limits,
        budget=asking.budget,
        price=price,
        retry_unscored=asking.retry_unscored,
    )
