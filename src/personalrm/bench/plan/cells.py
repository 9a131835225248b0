"""The cells of a run: which method judges with which model on which dataset, and in what order.

The order lets every model be opened twice at most: once for its own cells, once to judge
with the prompts of others. The plan depends on the run file alone, so a resumed run
and `bench validate` find the same cells.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from personalrm.bench.methods.table import entry_of
from personalrm.bench.plan.spec import EMBEDDED, RunSpec
from personalrm.errors import BadInput

Control = Literal["shuffled_user", "identical"]
CONTROLS: tuple[Control, ...] = get_args(Control)
CellKind = Literal["alone", "embedded", "encoder", "model", "base_model"]


@dataclass(frozen=True)
class Cell:
    """One line of the plan of a run: which method judges which dataset, with what."""

    dataset: str
    method: str
    """Key of the table of methods, or what names a class of another package."""
    model: str | None = None
    """Label of the model or engine that judges; None for a method without one (random, longer)."""
    seed: int = 0
    k: int | None = None
    """Number of context pairs a user, drawn at random; None means all of them."""
    teacher: str | None = None
    """Label of the model that wrote the prompts, when another one judges (paper 6.3)."""
    control: Control | None = None
    """`shuffled_user`: everybody is judged with what is known of somebody else; `identical` (A/A test): a judge is
    asked about two completions that are the same."""

    def __post_init__(self) -> None:
        for name in ("dataset", "method"):
            if not getattr(self, name).strip():
                raise BadInput(f"{name} of a cell is blank; name it")
        if self.k is not None and self.k < 0:
            raise BadInput(f"k of a cell is {self.k!r}; it counts context pairs, so 0 is the least")
        if self.control not in (None, *CONTROLS):
            known = " or ".join(map(repr, CONTROLS))
            raise BadInput(f"control of a cell is {self.control!r}; use {known}, or leave it out")

    @property
    def name(self) -> str:
        """A name that is safe as a file name and differs between cells: readable words and eight hex digits."""
        words = [self.dataset, self.method, self.model, self.teacher and f"by-{self.teacher}"]
        words += [f"k{self.k}" if self.k is not None else None, self.control, f"s{self.seed}"]
        text = ".".join(re.sub(r"[^a-z0-9_]+", "-", word.lower()).strip("-")[:32] for word in words if word)
        exact = "\0".join("" if value is None else repr(value) for value in asdict(self).values())
        return f"{text}.{hashlib.sha256(exact.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def plan_cells(spec: RunSpec) -> list[Cell]:
    """Every cell of the run once, in the order in which they are run.

    First what needs no model, then the embedded engine, then model by model, then the base
    models that are trained; cells with prompts of another model (transfer) come last, since
    they need those prompts.
    """
    models, encoders = [model.label for model in spec.models], [encoder.label for encoder in spec.encoders]
    cells = []
    # Table 3: every method on everything it runs on, with its controls
    for cell in _cells_of(spec, spec.methods, spec.seeds, None):
        cells.append(cell)
        control = replace(cell, control="shuffled_user")
        if entry_of(cell.method).is_personal and n_draws(spec, control):
            cells.append(control)
        # whatever gives a margin has no order to be biased by
        if spec.identical and kind_of(cell) == "model" and entry_of(cell.method).judges_identical:
            cells.append(replace(cell, control="identical"))
    if (curves := spec.by_context) is not None:
        for cell in _cells_of(spec, curves.methods, spec.seeds, curves.models):
            cells += [replace(cell, k=k) for k in curves.k]
    if (families := spec.families) is not None:
        cells += _cells_of(spec, families.methods, families.seeds, families.models or models)
    handed_on: list[Cell] = []
    if (transfer := spec.transfer) is not None:
        teachers, students = transfer.teachers or models, transfer.students or models
        # The cells whose prompts are handed to students; they are the diagonal of the matrix.
        cells += _cells_of(spec, transfer.methods, spec.seeds, (*teachers, *students))
        for student in students:
            for cell in _cells_of(spec, transfer.methods, spec.seeds, [student]):
                handed_on += [replace(cell, teacher=teacher) for teacher in teachers if teacher != student]
    order: list[tuple[CellKind, str | None]] = [("alone", None), ("embedded", EMBEDDED)]
    order += [("encoder", label) for label in encoders] + [("model", label) for label in models]
    order += [("base_model", base.label) for base in spec.base_models]
    return sorted(dict.fromkeys(cells), key=lambda cell: order.index((kind_of(cell), cell.model))) + handed_on


def kind_of(cell: Cell) -> CellKind:
    """What runs a cell; a base model may bear the label of a model, so the method decides."""
    entry = entry_of(cell.method)
    if entry.alone is not None:
        return "alone"
    if entry.encoder is not None:
        return "encoder"
    if entry.base_model is not None:
        return "base_model"
    return "embedded" if cell.model == EMBEDDED else "model"


def engines_of(spec: RunSpec, method: str) -> list[str | None]:
    """Who can run a method in this run: None without any engine, `embedded`, labels of models."""
    entry = entry_of(method)
    if entry.alone is not None:
        return [None]
    engines: list[str | None] = [EMBEDDED] if entry.embedded is not None and spec.embedded else []
    if entry.encoder is not None:
        return engines + [encoder.label for encoder in spec.encoders]
    if entry.base_model is not None:
        return engines + [base.label for base in spec.base_models]
    if entry.model is None:
        return engines
    needs_prompt = "persona_prompt" in entry.needs
    return engines + [model.label for model in spec.models if model.persona_prompt is not None or not needs_prompt]


def left_out(spec: RunSpec) -> list[str]:
    """A sentence for each method of the run that nothing in the run file can run."""
    sentences = []
    for method in spec.methods:
        if engines_of(spec, method):
            continue
        entry = entry_of(method)
        if entry.encoder is not None:
            wanted = "one of `encoders`"
        elif entry.base_model is not None:
            wanted = "one of `base_models`"
        elif entry.model is None:
            wanted = "the embedded engine (`embedded: true`)"
        else:
            wanted = "one of `models`" + (" with a persona_prompt" if "persona_prompt" in entry.needs else "")
        sentences.append(f"{method} runs on {wanted} and the run file has none, so it is left out")
    return sentences


def n_draws(spec: RunSpec, cell: Cell) -> int:
    """How often a cell judges every target: once, or once a derangement."""
    if cell.control != "shuffled_user":
        return 1
    wanted = spec.shuffled_users
    return {"model": wanted.models, "base_model": wanted.base_models}.get(kind_of(cell), wanted.embedded)


def n_targets(spec: RunSpec, cell: Cell, n: int) -> int:
    """How many of n targets a cell judges: the A/A test takes a sample."""
    return min(n, spec.identical) if cell.control == "identical" else n


def _cells_of(
    spec: RunSpec, methods: Iterable[str], seeds: Sequence[int], labels: Sequence[str] | None
) -> Iterator[Cell]:
    """Cells of these methods on those of their engines that are asked for; on all of them when None."""
    for dataset in spec.datasets:
        for seed in seeds:
            for method in methods:
                for engine in engines_of(spec, method):
                    if engine is None or labels is None or engine in labels:
                        yield Cell(dataset.name, method, engine, seed)
