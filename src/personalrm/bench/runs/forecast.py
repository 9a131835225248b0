"""What a run would ask at most, cell by cell, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from personalrm.bench.methods.table import entry_of
from personalrm.bench.methods.trained import divide, n_conversations, pool_users, stopping
from personalrm.bench.plan.cells import Cell, kind_of, n_draws, n_targets, plan_cells
from personalrm.bench.plan.spec import RunSpec, pool_of, writer_of
from personalrm.bench.runs.data import Dataset
from personalrm.bench.runs.runner import draw_users
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import synthesis_calls
from personalrm.induction.waves import Calls
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User
from personalrm.rewards.methods import reward_method


@dataclass(frozen=True)
class CellForecast:
    """One cell."""

    cell: Cell
    n_judgements: int
    n_calls: int
    """At most; what other cells asked before, and what the cache holds, is not asked again and not counted off."""
    is_bounded: bool = True
    """Whether it asks no more than `n_calls`; False where its method does not say what it asks."""
    n_trainings: int = 0
    """Language models it trains; counted at the first cell that needs them."""
    n_training_pairs: int = 0
    """Pairs all of these are trained on, an epoch."""


def forecast_run(spec: RunSpec, datasets: Mapping[str, Dataset]) -> list[CellForecast]:
    """Judgements, calls and trainings of every cell, at most."""
    counted: set[object] = set()  # trainings and persona prompts that a cell before has
    forecasts = []
    for cell in plan_cells(spec):
        dataset = datasets[cell.dataset]
        forecast = _judging(spec, cell, dataset)
        key = (cell.dataset, cell.method, cell.model, cell.seed)
        if kind_of(cell) == "base_model" and key not in counted:
            counted.add(key)
            portions = divide(dataset.held_out, pool_of(spec, cell.method)).portions
            forecast = replace(
                forecast,
                n_calls=_calls_for_personas(spec, cell, dataset, counted),
                n_trainings=len(portions),
                n_training_pairs=sum(len(portion.pairs) for portion in portions),
            )
        forecasts.append(forecast)
    return forecasts


def _calls_for_personas(spec: RunSpec, cell: Cell, dataset: Dataset, counted: set[object]) -> int:
    """Calls that write the personas a base model is told, at its first row that needs them."""
    base = next(base for base in spec.base_models if base.label == cell.model)
    models = {model.label: model for model in spec.models}
    writer = writer_of(base, list(models))
    key = (cell.dataset, writer, cell.seed, base.cross_fitted)
    is_asked = reward_method(cell.method).needs_prompts and base.prompts is None
    if not is_asked or writer not in models or key in counted:
        return 0
    counted.add(key)
    users = pool_users(dataset.held_out, dataset.spec.min_pairs)
    only = None if base.cross_fitted else stopping(users, dataset.held_out)
    settings = InductionSettings(n_trials=spec.trials, variant="both")
    n_calls = 0
    for user in users:
        of_prompt = synthesis_calls(split_context(user.pairs), settings).total(models[writer].samples)
        n_calls += (1 + n_conversations(user, only)) * of_prompt
    return n_calls


def _judging(spec: RunSpec, cell: Cell, dataset: Dataset) -> CellForecast:
    """What learning the users and judging their targets asks, without training."""
    users: Sequence[User] = list(dataset.held_out.context.values())
    if cell.k is not None:
        users = draw_users(users, cell.k, seed=cell.seed)
    ids = {user.user_id for user in users}
    n = sum(pair.user_id in ids for pair in dataset.held_out.targets)
    n = n_draws(spec, cell) * n_targets(spec, cell, n)
    count_calls = entry_of(cell.method).calls
    model = next((model for model in spec.models if model.label == cell.model), None)
    if model is None or kind_of(cell) != "model" or count_calls is None:
        return CellForecast(cell, n, 0, is_bounded=count_calls is not None)
    # The A/A test shows the same completion twice, so both orders are one request.
    calls = Calls(questions=n if cell.control == "identical" else 2 * n)
    if not cell.teacher:
        settings = InductionSettings(n_trials=spec.trials)
        calls = sum((count_calls(user, settings) for user in users if user.pairs), calls)
    return CellForecast(cell, n, calls.total(model.samples))
