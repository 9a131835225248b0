"""The cells of a run: which method judges with which model on which dataset, and in what order.

The order lets every model be opened twice at most: once for its own cells, once to judge
with the prompts of others. The plan depends on the run file alone, so a resumed run
and `bench validate` find the same cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from personalrm.bench.methods.table import METHODS
from personalrm.bench.runs.records import Cell
from personalrm.bench.runs.reward_spec import EMBEDDED
from personalrm.bench.runs.spec import RunSpec

Kind = Literal["alone", "embedded", "encoder", "model", "base_model"]


def plan_cells(spec: RunSpec) -> list[Cell]:
    """Every cell of the run once, in the order in which they are run.

    First what needs no model, then the embedded engine, then model by model, then the base
    models that are trained; cells with prompts of another model (transfer) come last, since
    they need those prompts.
    """
    own = dict.fromkeys([*_table(spec), *_curves(spec), *_families(spec), *_teachers(spec)])
    order: list[tuple[Kind, str | None]] = [("alone", None), ("embedded", EMBEDDED)]
    order += [("encoder", label) for label in _encoders(spec)] + [("model", label) for label in _models(spec)]
    order += [("base_model", one.label) for one in spec.base_models]
    return sorted(own, key=lambda cell: order.index((kind_of(cell), cell.model))) + list(_students(spec))


def kind_of(cell: Cell) -> Kind:
    """What runs a cell; a base model may bear the label of a model, so the method decides."""
    entry = METHODS[cell.method]
    if entry.alone is not None:
        return "alone"
    if entry.encoder is not None:
        return "encoder"
    if entry.base_model is not None:
        return "base_model"
    return "embedded" if cell.model == EMBEDDED else "model"


def engines_of(spec: RunSpec, method: str) -> list[str | None]:
    """Who can run a method in this run: None without any engine, `embedded`, labels of models."""
    entry = METHODS[method]
    if entry.alone is not None:
        return [None]
    engines: list[str | None] = [EMBEDDED] if entry.embedded is not None and spec.embedded else []
    if entry.encoder is not None:
        return engines + list(_encoders(spec))
    if entry.base_model is not None:
        return engines + [one.label for one in spec.base_models]
    if entry.model is None:
        return engines
    needs_prompt = "persona_prompt" in entry.needs
    return engines + [one.label for one in spec.models if one.persona_prompt is not None or not needs_prompt]


def left_out(spec: RunSpec) -> list[str]:
    """A sentence for each method of the run that nothing in the run file can run."""
    return [
        f"{method} runs on {_wanted(method)} and the run file has none, so it is left out"
        for method in spec.methods
        if not engines_of(spec, method)
    ]


def _wanted(method: str) -> str:
    entry = METHODS[method]
    if entry.encoder is not None:
        return "one of `encoders`"
    if entry.base_model is not None:
        return "one of `base_models`"
    if entry.model is None:
        return "the embedded engine (`embedded: true`)"
    return "one of `models` with a persona_prompt" if "persona_prompt" in entry.needs else "one of `models`"


def n_draws(spec: RunSpec, cell: Cell) -> int:
    """How often a cell judges every target: once, or once a derangement."""
    if cell.control != "shuffled_user":
        return 1
    wanted = spec.shuffled_users
    return {"model": wanted.models, "base_model": wanted.base_models}.get(kind_of(cell), wanted.embedded)


def n_targets(spec: RunSpec, cell: Cell, n: int) -> int:
    """How many of n targets a cell judges: the A/A test takes a sample."""
    return min(n, spec.identical) if cell.control == "identical" else n


def _table(spec: RunSpec) -> Iterator[Cell]:
    """Table 3: every method on everything it runs on, with its controls."""
    for dataset in spec.datasets:
        for seed in spec.seeds:
            for method in spec.methods:
                for engine in engines_of(spec, method):
                    yield from _with_controls(spec, Cell(dataset.name, method, engine, seed))


def _with_controls(spec: RunSpec, cell: Cell) -> Iterator[Cell]:
    yield cell
    control = replace(cell, control="shuffled_user")
    if METHODS[cell.method].is_personal and n_draws(spec, control):
        yield control
    if spec.identical and kind_of(cell) == "model":  # whatever gives a margin has no order to be biased by
        yield replace(cell, control="identical")


def _curves(spec: RunSpec) -> Iterator[Cell]:
    one = spec.by_context
    if one is None:
        return
    for cell in _of(spec, one.methods, spec.seeds, one.models):
        for k in one.k:
            yield replace(cell, k=k)


def _families(spec: RunSpec) -> Iterator[Cell]:
    one = spec.families
    if one is not None:
        yield from _of(spec, one.methods, one.seeds, one.models or _models(spec))


def _teachers(spec: RunSpec) -> Iterator[Cell]:
    """The cells whose prompts are handed to students; they are the diagonal of the matrix."""
    one = spec.transfer
    if one is not None:
        wanted = dict.fromkeys((*(one.teachers or _models(spec)), *(one.students or _models(spec))))
        yield from _of(spec, one.methods, spec.seeds, tuple(wanted))


def _students(spec: RunSpec) -> Iterator[Cell]:
    one = spec.transfer
    if one is None:
        return
    for student in one.students or _models(spec):
        for cell in _of(spec, one.methods, spec.seeds, [student]):
            for teacher in one.teachers or _models(spec):
                if teacher != student:
                    yield replace(cell, teacher=teacher)


def _of(spec: RunSpec, methods: Iterable[str], seeds: Sequence[int], labels: Sequence[str] | None) -> Iterator[Cell]:
    """Cells of these methods on those of their engines that are asked for."""
    for dataset in spec.datasets:
        for seed in seeds:
            for method in methods:
                for engine in engines_of(spec, method):
                    if engine is None or labels is None or engine in labels:
                        yield Cell(dataset.name, method, engine, seed)


def _encoders(spec: RunSpec) -> list[str]:
    return [one.label for one in spec.encoders]


def _models(spec: RunSpec) -> list[str]:
    return [one.label for one in spec.models]
