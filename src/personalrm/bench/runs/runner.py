"""Runs the cells of a plan into a run folder: resumable, a cell is there whole or not at all.

A killed run goes on with the same command: finished cells are left as they are, and the
answers of the one that was under way are in the cache. What one cell cannot do (no access,
no budget, no server) does not stop the cells of other models.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from personalrm.bench.methods.embedded import Engine
from personalrm.bench.methods.method import Judgement, Knowledge, Method
from personalrm.bench.methods.model import nobody
from personalrm.bench.methods.table import make_method
from personalrm.bench.methods.target_judgements import judge_identical, judge_shuffled, judge_targets, sample_of
from personalrm.bench.plan.cells import Cell, kind_of, n_draws, n_targets, plan_cells
from personalrm.bench.plan.spec import RunSpec
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import JudgementRow
from personalrm.bench.runs.bases import Base
from personalrm.bench.runs.data import Dataset
from personalrm.bench.runs.models import OpensModels
from personalrm.bench.runs.tools import Shared, Toolbox
from personalrm.errors import BadInput, ModelUnavailable, PersonalRMError
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.users import User
from personalrm.stopping import Drain

ONE_USER = "left out: the shuffled-user control needs two users"


@dataclass(frozen=True)
class CellReport:
    """What became of one cell."""

    cell: Cell
    is_done: bool
    was_done: bool = False
    """Whether an earlier run had finished it."""
    reason: str = ""
    """Why it is not done, or was left out on purpose."""
    error: PersonalRMError | None = None
    """What it failed with, if it failed."""
    n_rows: int = 0
    n_unscored: int = 0
    """Pairs without a verdict in either order."""
    not_learned: Mapping[str, str] | None = None
    """Users who are judged knowing nothing, with the reason."""


class Runner:
    """One run.

    Args:
        spec: What is to be run.
        datasets: Its datasets, by name.
        folder: Where the results go.
        models: Its language models.
        persona_prompts: Persona prompts of larger models by label of the model that uses them.
        retry_unscored: Run finished cells again that lack verdicts.
        embeddings: Folder in which the embeddings of all encoders are kept.
        bases: Base models to train, from `load_bases`.
    """

    def __init__(
        self,
        spec: RunSpec,
        datasets: Mapping[str, Dataset],
        folder: RunFolder,
        models: OpensModels,
        persona_prompts: Mapping[str, PersonaPrompt],
        *,
        retry_unscored: bool = False,
        embeddings: str | Path = "embeddings",
        bases: Mapping[str, Base] | None = None,
    ) -> None:
        self._spec, self._datasets, self._folder, self._models = spec, datasets, folder, models
        self._retry_unscored = retry_unscored
        self._caller: list[Caller] = []
        self._last: tuple[Cell, Method, list[Knowledge]] | None = None
        self._shared = Shared(
            spec,
            {name: Engine(one.spec.population_leaves_out) for name, one in datasets.items()},
            models,
            persona_prompts,
            embeddings,
            folder,
            bases or {},
            self._judge,
        )

    def run(self, cells: Iterable[Cell] | None = None) -> Generator[CellReport, None, None]:
        """Every cell as it is finished; an interrupt keeps what is under way and ends the run.

        Args:
            cells: Those of the plan to run, in its order; all when None.
        """
        planned = plan_cells(self._spec) if cells is None else cells
        with Drain(self._interrupt) as drain:
            for (kind, label), group in groupby(planned, key=lambda cell: (kind_of(cell), cell.model)):
                todo = []
                for cell in group:
                    if self._is_finished(cell):
                        yield CellReport(cell, True, was_done=True)
                    else:
                        todo.append(cell)
                if not todo or drain.is_asked:
                    yield from (CellReport(cell, False, reason="not done, the run was stopped") for cell in todo)
                elif kind != "model" or label is None:
                    yield from self._group(todo, None, lambda: drain.is_asked)
                else:
                    with self._opened(label) as opened:
                        yield from self._group(todo, opened, lambda: drain.is_asked)

    @contextmanager
    def _opened(self, label: str) -> Iterator[Caller]:
        """The caller of a model, stopped by an interrupt."""
        with self._models.opened(label) as opened:
            self._caller[:] = [opened]
            try:
                yield opened
            finally:
                self._caller.clear()

    @contextmanager
    def _judge(self, label: str, seed: int) -> Iterator[ModelJudge]:
        """The judge of a model, for a while."""
        with self._opened(label) as opened:
            yield self._models.judge(label, seed, opened)

    def _interrupt(self) -> None:
        """Let what is under way finish, where that is of use to a later run."""
        if self._folder.is_temporary:
            raise KeyboardInterrupt
        for caller in self._caller:
            caller.stop(ModelUnavailable("interrupted"))

    def _is_finished(self, cell: Cell) -> bool:
        if not self._folder.has_cell(cell):
            return False
        return not (self._retry_unscored and any(row.unscored for row in self._folder.rows(cell)))

    def _group(
        self, cells: Sequence[Cell], caller: Caller | None, is_asked: Callable[[], bool]
    ) -> Iterator[CellReport]:
        """The cells of one model; once it cannot be asked any more, the rest is not tried."""
        bench = Toolbox(self._shared, caller)
        self._last = None  # what was learned with the tools before asks a model that is closed
        reason = ""
        for cell in cells:
            if is_asked():
                reason = reason or "not done, the run was stopped"
            if reason:
                yield CellReport(cell, False, reason=reason)
                continue
            try:
                yield self._run_cell(cell, bench)
            except ModelUnavailable as error:
                reason = str(error)
                yield CellReport(cell, False, reason=reason, error=error)
            except PersonalRMError as error:
                yield CellReport(cell, False, reason=str(error), error=error)

    def _run_cell(self, cell: Cell, bench: Toolbox) -> CellReport:
        started, before = time.monotonic(), bench.usage
        dataset = self._datasets[cell.dataset]
        users = list(dataset.held_out.context.values())
        if cell.k is not None:
            users = draw_users(users, cell.k, seed=cell.seed)
        if not users or (cell.control == "shuffled_user" and len(users) < 2):
            return CellReport(cell, False, reason=ONE_USER if users else f"left out: nobody has {cell.k} choices")
        method, known = self._learned(cell, bench, users)
        of_users = {user.user_id for user in users}
        targets = [pair for pair in dataset.held_out.targets if pair.user_id in of_users]
        if cell.control == "identical":
            targets = sample_of(targets, n_targets(self._spec, cell, len(targets)))
        rows = self._judged(cell, method, known, targets)
        self._keep(cell, known, rows)
        self._note(cell, started, before, bench)
        n_unscored = sum(not row.is_scored for row in rows)
        not_learned = {one.user_id: one.note for one in known if one.note}
        return CellReport(cell, True, n_rows=len(rows), n_unscored=n_unscored, not_learned=not_learned)

    def _learned(self, cell: Cell, bench: Toolbox, users: Sequence[User]) -> tuple[Method, list[Knowledge]]:
        """The method of a cell and what it knows of the users; a control judges with what its row has learned."""
        row = replace(cell, control=None)
        if self._last is None or self._last[0] != row:
            self._last = None  # a trained language model must go before the next one comes
            dataset = self._datasets[cell.dataset]
            method = make_method(cell.method, bench.tools(cell))
            method.learn(dataset.held_out, dataset.surveys)
            self._last = (row, method, self._taught(cell, users) if cell.teacher else method.know(users))
        return self._last[1:]

    def _judged(
        self, cell: Cell, method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair]
    ) -> list[JudgementRow]:
        if cell.control == "shuffled_user":
            draws = judge_shuffled(method, known, targets, n_draws(self._spec, cell), seed=cell.seed)
        elif cell.control == "identical":
            draws = [judge_identical(method, known, targets)]
        else:
            draws = [judge_targets(method, known, targets)]
        return [
            _row(pair, judgement, number)
            for number, draw in enumerate(draws)
            for pair, judgement in zip(targets, draw, strict=True)
        ]

    def _taught(self, cell: Cell, users: Sequence[User]) -> list[Knowledge]:
        """The prompts another model wrote, from its own cell.

        Raises:
            BadInput: If that cell is not finished.
        """
        own = replace(cell, model=cell.teacher, teacher=None)
        if not self._folder.has_cell(own):
            raise BadInput(f"not done, since the prompts of {cell.teacher!r} are not finished")
        prompts = {user.user_id: self._folder.prompt(own, user.user_id) for user in users}
        return [
            Knowledge(
                user_id, prompt or nobody(user_id), "" if prompt and prompt.roles else "not learned by the teacher"
            )
            for user_id, prompt in prompts.items()
        ]

    def _keep(self, cell: Cell, known: Sequence[Knowledge], rows: Sequence[JudgementRow]) -> None:
        """Prompts first: a cell that is there has all of them."""
        if cell.control is None and cell.k is None and cell.teacher is None and not self._folder.is_temporary:
            for one in known:
                if isinstance(one.value, PersonalPrompt):
                    self._folder.write_prompt(cell, one.value)
        self._folder.write_cell(cell, rows)

    def _note(self, cell: Cell, started: float, before: Mapping[str, float], bench: Toolbox) -> None:
        usage = {name: value - before.get(name, 0) for name, value in bench.usage.items()}
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self._folder.note_timing(
            {"cell": cell.name, "finished": finished, "seconds": round(time.monotonic() - started, 3), "usage": usage}
        )


def draw_users(users: Iterable[User], n_choices: int, *, seed: int = 0) -> list[User]:
    """The users with at least `n_choices` context choices, each with so many of them, drawn at random."""
    rng = np.random.default_rng([seed, n_choices])
    able = [user for user in users if len({pair.choice_key for pair in user.pairs}) >= n_choices]
    return [User(user.user_id, draw_choices(user.pairs, n_choices, rng)) for user in able]


def draw_choices(
    pairs: Sequence[PreferencePair], n_choices: int, rng: np.random.Generator
) -> tuple[PreferencePair, ...]:
    """A random `n_choices` of the choices, all pairs of each, in their order."""
    numbers: dict[str, int] = {}
    of_pair = [numbers.setdefault(pair.choice_key, len(numbers)) for pair in pairs]
    kept = set(rng.permutation(len(numbers))[:n_choices].tolist())
    return tuple(pair for pair, number in zip(pairs, of_pair, strict=True) if number in kept)


def _row(pair: PreferencePair, judgement: Judgement, draw: int) -> JudgementRow:
    return JudgementRow(
        pair.hash,
        pair.user_id,
        draw,
        judgement.chosen_first,
        judgement.chosen_second,
        judgement.margin,
        judgement.unscored,
        judgement.reasoning,
    )
