"""What a run would ask at most, cell by cell, before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from personalrm.bench.by_context import draw_users
from personalrm.bench.runs.data import Dataset
from personalrm.bench.runs.plan import n_draws, n_targets, plan_cells
from personalrm.bench.runs.records import Cell
from personalrm.bench.runs.spec import EMBEDDED, ModelSpec, RunSpec
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User

WRITES_BOTH = (
    "just_persona",
    "persona_and_demonstrations",
    "just_persona_distill",
    "persona_and_demonstrations_distill",
)


@dataclass(frozen=True)
class CellForecast:
    """One cell."""

    cell: Cell
    n_judgements: int
    n_calls: int
    """Upper bound; what other cells asked before, and what the cache holds, is not asked again and not counted off."""


def forecast_run(spec: RunSpec, datasets: Mapping[str, Dataset]) -> list[CellForecast]:
    """Judgements and calls of every cell, at most (specification, induction section 4)."""
    models = {one.label: one for one in spec.models}
    return [_forecast(spec, cell, datasets[cell.dataset], models.get(cell.model or "")) for cell in plan_cells(spec)]


def _forecast(spec: RunSpec, cell: Cell, dataset: Dataset, model: ModelSpec | None) -> CellForecast:
    users: Sequence[User] = list(dataset.held_out.context.values())
    if cell.k is not None:
        users = draw_users(users, cell.k, seed=cell.seed)
    ids = {user.user_id for user in users}
    n = sum(pair.user_id in ids for pair in dataset.held_out.targets)
    n = n_draws(spec, cell) * n_targets(spec, cell, n)
    if cell.model in (None, EMBEDDED) or model is None:
        return CellForecast(cell, n, 0)
    learning = 0 if cell.teacher else sum(_calls_to_learn(spec, cell.method, user) for user in users if user.pairs)
    return CellForecast(cell, n, model.samples * (2 * n + learning))


def _calls_to_learn(spec: RunSpec, method: str, user: User) -> int:
    """Calls of one user's induction at most."""
    split = split_context(user.pairs)
    search = len(split.train) + 2 * (spec.trials + 1) * len(split.validation)
    if method in WRITES_BOTH:
        return 2 * search + 1
    return {"just_demonstrations": search, "memory": len(split.context), "guided_profile": 2}.get(method, 0)
