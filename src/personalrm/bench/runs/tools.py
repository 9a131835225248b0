"""The tools of the cells of one engine, made once for each dataset and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from personalrm.bench.methods.embedded import Engine
from personalrm.bench.methods.model import Inductions
from personalrm.bench.methods.table import Tools
from personalrm.bench.plan.cells import Cell, kind_of
from personalrm.bench.plan.reward_spec import RunEncoder
from personalrm.bench.plan.spec import RunSpec
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.runs.bases import Base, pool_of
from personalrm.bench.runs.models import OpensModels
from personalrm.bench.runs.trainings import Means, OpenJudge, trainings_of
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.rewards.methods import make_reward_model, reward_method
from personalrm.rewards.reward_model import RewardModel
from personalrm.rewards.trained import open_store


@dataclass(frozen=True, repr=False)
class Shared:
    """What the tools of all engines of a run are made of."""

    spec: RunSpec
    engines: Mapping[str, Engine]
    """The embedded engine of each dataset."""
    models: OpensModels
    persona_prompts: Mapping[str, PersonaPrompt]
    """Of larger models, by label of the model that uses them."""
    embeddings: str | Path
    folder: RunFolder
    bases: Mapping[str, Base]
    """By label."""
    judge: OpenJudge
    """Opens a model of the run as a judge, by label and seed, for who writes the personas of a base model."""


class Toolbox:
    """The tools of one engine.

    Args:
        shared: What they are made of.
        caller: Of its model; None for engines without one.
    """

    def __init__(self, shared: Shared, caller: Caller | None) -> None:
        self._shared, self._caller = shared, caller
        self._tools: dict[tuple[str, int], Tools] = {}

    @property
    def usage(self) -> dict[str, float]:
        """What the model was asked so far."""
        return asdict(self._caller.ledger.total) if self._caller is not None else {}

    def tools(self, cell: Cell) -> Tools:
        """The tools of a cell."""
        key = (cell.dataset, cell.seed)
        if key not in self._tools:
            self._tools[key] = self._make(cell)
        return self._tools[key]

    def _make(self, cell: Cell) -> Tools:
        spec, engine = self._shared.spec, self._shared.engines[cell.dataset]
        settings = InductionSettings(n_trials=spec.trials, schedule=spec.schedule, seed=cell.seed)
        if kind_of(cell) == "base_model":
            base = self._shared.bases[cell.model or ""]
            means = Means(spec, self._shared.folder, self._shared.judge, self._shared.embeddings)
            trainings = trainings_of(means, base, cell, settings)
            return Tools(engine, settings=settings, trainings=trainings)
        if self._caller is None:
            encoder = next((one for one in spec.encoders if one.label == cell.model), None)
            maker = reward_maker(spec, encoder, self._shared.embeddings, seed=cell.seed) if encoder else None
            pool = partial(pool_of, spec)
            return Tools(engine, settings=settings, rewards=maker, pool=pool)
        model = next(one for one in spec.models if one.label == cell.model)
        judge = self._shared.models.judge(model.label, cell.seed, self._caller)
        theta = self._shared.persona_prompts.get(model.label)
        distilled = Inductions(ModelJudge(self._caller, judge.options, theta), settings) if theta is not None else None
        return Tools(engine, judge, Inductions(judge, settings), distilled, settings)


def reward_maker(
    spec: RunSpec, encoder: RunEncoder, embeddings: str | Path, *, seed: int
) -> Callable[[str], RewardModel[Any]]:
    """Makes the reward models of a run on one encoder, with the run's settings and a cell's seed."""
    store = open_store(embeddings, encoder.encoder)
    given = {one.method: one for one in spec.reward_models}

    def make(name: str) -> RewardModel[Any]:
        own = given.get(name)
        settings = {"pooling": encoder.pooling, **(own.settings if own else {})}
        if "seed" in {one.name for one in fields(reward_method(name).classes()[1])}:
            settings.setdefault("seed", seed)
        where = f"settings of reward model {name!r}"
        options = reward_method(name).options(settings, where=where, faithful=own.faithful if own else False)
        return make_reward_model(name, store, options)

    return make
