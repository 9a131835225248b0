"""Settings of a reward model tried one after another in one process: texts are embedded once, dev users choose.

The settings with the least loss on the dev users' targets are kept. The loss of the winner
is the best of many on the same pairs, so it flatters; measure on other users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from personalrm.errors import BadInput
from personalrm.preferences.users import User
from personalrm.rewards.methods import reward_method
from personalrm.rewards.reward_model import DevUser, RewardModel, target_margins
from personalrm.rewards.trained import Embedded, claim_folder, divided, save_trained
from personalrm.rewards.training_report import TrainingReport

MOST_TRIED = 1000


@dataclass(frozen=True)
class Tried:
    """One combination of settings."""

    settings: Mapping[str, Any]
    loss: float
    """Mean of log(1 + exp(-margin)) over the dev users' targets; 0.693 is a coin."""
    accuracy: float
    """Share of them won, ties half."""


def combinations(grid: Mapping[str, Any], *, where: str) -> list[dict[str, Any]]:
    """Every combination of the values in lists; `a.b` is key b inside a.

    >>> combinations({"n_bases": [2, 4], "optimization.n_steps": [100]}, where="grid")
    [{'n_bases': 2, 'optimization': {'n_steps': 100}}, {'n_bases': 4, 'optimization': {'n_steps': 100}}]

    Raises:
        BadInput: If a value is no list, a list is empty, or there are too many combinations.
    """
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise BadInput(f"{name} of {where} is {values!r}; write a list of values to try, such as [2, 4, 8]")
    n_combinations = int(np.prod([len(values) for values in grid.values()], dtype=np.int64))
    if n_combinations > MOST_TRIED:
        raise BadInput(f"{where} has {n_combinations:,} combinations; try at most {MOST_TRIED:,} at a time")
    return [_nested(dict(zip(grid, values, strict=True))) for values in product(*grid.values())]


def sweep(
    users: Sequence[User],
    folder: str | Path,
    made: Embedded,
    settings: Sequence[Mapping[str, Any]],
    *,
    dev_percent: int = 10,
) -> Iterator[Tried | TrainingReport]:
    """Train every combination, telling of each; at last the best is saved and its report told.

    Args:
        users: As for `train_to_folder`.
        folder: Where the best model goes.
        made: Method, encoder and store; its options are replaced.
        settings: What `combinations` returned.
        dev_percent: As for `train_to_folder`.

    Raises:
        BadInput: If there are no dev users to choose by, or no pair to learn from.
    """
    train, dev = divided(users, dev_percent)
    if not dev:
        raise BadInput("a sweep chooses by dev users and there are none; raise --dev-percent or add users")
    path = claim_folder(folder, made.method)
    best: tuple[float, RewardModel[Any], Embedded] | None = None
    options = [reward_method(made.method).options(own, where="the sweep") for own in settings]  # all checked first
    for own, chosen in zip(settings, options, strict=True):
        one = replace(made, options=chosen)
        model = one.make(None)
        model.fit([pair for user in train for pair in user.pairs if pair.split != "target"], dev=dev)
        tried = _measured(model, own, dev)
        if best is None or tried.loss < best[0]:
            best = (tried.loss, model, one)
        yield tried
    assert best is not None
    yield save_trained(best[1], best[2], train, dev, path)


def _measured(model: RewardModel[Any], settings: Mapping[str, Any], dev: Sequence[DevUser]) -> Tried:
    found = target_margins(model, dev)
    return Tried(settings, float(np.logaddexp(0.0, -found).mean()), float((0.5 * (1.0 + np.sign(found))).mean()))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in flat.items():
        outer, dot, inner = name.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = value
        else:
            found[outer] = value
    return found
