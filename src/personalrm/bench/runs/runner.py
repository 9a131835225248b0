"""Runs the cells of a plan into a run folder: resumable, a cell is there whole or not at all.

A killed run goes on with the same command: finished cells are left as they are, and the
answers of the one that was under way are in the cache. What one cell cannot do (no access,
no budget, no server) does not stop the cells of other models.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from personalrm.bench.methods.embedded import Engine
from personalrm.bench.methods.method import (
    Knowledge,
    Method,
    judge_identical,
    judge_shuffled,
    judge_targets,
    sample_of,
)
from personalrm.bench.methods.model import Inductions, nobody
from personalrm.bench.methods.table import Tools, make_method
from personalrm.bench.methods.trained import RewardRow, RunPrompts, Shelf, pool_users, stopping
from personalrm.bench.plan.cells import Cell, kind_of, n_draws, n_targets, plan_cells
from personalrm.bench.plan.spec import (
    EMBEDDED,
    RunSpec,
    encoder_of,
    given_for,
    options_of,
    pool_of,
    writer_of,
)
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import JudgementRow
from personalrm.bench.runs.data import Dataset
from personalrm.bench.runs.models import OpensModels
from personalrm.bench.runs.setup import Base
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput, ModelUnavailable, PersonalRMError, StoreError
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.fit_job import NOT_DONE, FitEngine
from personalrm.induction.model_fit import ModelFit
from personalrm.induction.prepared import Preparation, prepare_prompts
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prepared_prompts import read_prepared, write_prepared
from personalrm.preferences.users import User
from personalrm.rewards.methods import Recipe, reward_method
from personalrm.rewards.trained import open_store
from personalrm.stopping import Drain
from personalrm.whole_files import private_folder

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
        self._engines = {name: Engine(dataset.spec.population_leaves_out) for name, dataset in datasets.items()}
        self._persona_prompts, self._embeddings, self._bases = persona_prompts, embeddings, bases or {}

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
                    is_finished = self._folder.has_cell(cell)
                    if is_finished and self._retry_unscored:
                        is_finished = not any(row.unscored for row in self._folder.rows(cell))
                    if is_finished:
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

    def _interrupt(self) -> None:
        """Let what is under way finish, where that is of use to a later run."""
        if self._folder.is_temporary:
            raise KeyboardInterrupt
        for caller in self._caller:
            caller.stop(ModelUnavailable("interrupted"))

    def _group(
        self, cells: Sequence[Cell], caller: Caller | None, is_asked: Callable[[], bool]
    ) -> Iterator[CellReport]:
        """The cells of one model; once it cannot be asked any more, the rest is not tried."""
        tools: dict[tuple[str, int], Tools] = {}  # of each dataset and seed, so that nothing is learned twice
        self._last = None  # what was learned with the tools before asks a model that is closed
        reason = ""
        for cell in cells:
            if is_asked():
                reason = reason or "not done, the run was stopped"
            if reason:
                yield CellReport(cell, False, reason=reason)
                continue
            try:
                key = (cell.dataset, cell.seed)
                if key not in tools:
                    tools[key] = self._tools(cell, caller)
                yield self._run_cell(cell, tools[key], caller)
            except ModelUnavailable as error:
                reason = str(error)
                yield CellReport(cell, False, reason=reason, error=error)
            except PersonalRMError as error:
                yield CellReport(cell, False, reason=str(error), error=error)

    def _run_cell(self, cell: Cell, tools: Tools, caller: Caller | None) -> CellReport:
        started, before = time.monotonic(), _usage(caller)
        dataset = self._datasets[cell.dataset]
        users = list(dataset.held_out.context.values())
        if cell.k is not None:
            users = draw_users(users, cell.k, seed=cell.seed)
        if not users or (cell.control == "shuffled_user" and len(users) < 2):
            return CellReport(cell, False, reason=ONE_USER if users else f"left out: nobody has {cell.k} choices")
        method, known = self._learned(cell, tools, users)
        of_users = {user.user_id for user in users}
        targets = [pair for pair in dataset.held_out.targets if pair.user_id in of_users]
        if cell.control == "identical":
            targets = sample_of(targets, n_targets(self._spec, cell, len(targets)))
            draws = [judge_identical(method, known, targets)]
        elif cell.control == "shuffled_user":
            draws = judge_shuffled(method, known, targets, n_draws(self._spec, cell), seed=cell.seed)
        else:
            draws = [judge_targets(method, known, targets)]
        rows = [
            JudgementRow(pair.hash, pair.user_id, number, **vars(judgement))
            for number, draw in enumerate(draws)
            for pair, judgement in zip(targets, draw, strict=True)
        ]
        if cell.control is None and cell.k is None and cell.teacher is None and not self._folder.is_temporary:
            for knowledge in known:  # prompts first: a cell that is there has all of them
                if isinstance(knowledge.value, PersonalPrompt):
                    self._folder.write_prompt(cell, knowledge.value)
        self._folder.write_cell(cell, rows)
        usage = {name: value - before.get(name, 0) for name, value in _usage(caller).items()}
        finished, seconds = datetime.now(UTC).isoformat(timespec="seconds"), round(time.monotonic() - started, 3)
        self._folder.note_timing({"cell": cell.name, "finished": finished, "seconds": seconds, "usage": usage})
        n_unscored = sum(not row.is_scored for row in rows)
        not_learned = {knowledge.user_id: knowledge.note for knowledge in known if knowledge.note}
        return CellReport(cell, True, n_rows=len(rows), n_unscored=n_unscored, not_learned=not_learned)

    def _learned(self, cell: Cell, tools: Tools, users: Sequence[User]) -> tuple[Method, list[Knowledge]]:
        """The method of a cell and what it knows of the users; a control judges with what its row has learned.

        Raises:
            BadInput: If the prompts are another model's, whose own cell is not finished.
        """
        row = replace(cell, control=None)
        if self._last is not None and self._last[0] == row:
            return self._last[1:]
        self._last = None  # a trained language model must go before the next one comes
        dataset = self._datasets[cell.dataset]
        method = make_method(cell.method, tools)
        method.learn(dataset.held_out, dataset.surveys)
        if cell.teacher is None:
            known = method.know(users)
        else:
            own = replace(cell, model=cell.teacher, teacher=None)
            if not self._folder.has_cell(own):
                raise BadInput(f"not done, since the prompts of {cell.teacher!r} are not finished")
            known = []
            for user_id in (user.user_id for user in users):
                prompt = self._folder.prompt(own, user_id)
                note = "" if prompt and prompt.roles else "not learned by the teacher"
                known.append(Knowledge(user_id, prompt or nobody(user_id), note))
        self._last = (row, method, known)
        return method, known

    def _tools(self, cell: Cell, caller: Caller | None) -> Tools:
        """What the methods of a cell's dataset, model and seed are made of."""
        spec, engine = self._spec, self._engines[cell.dataset]
        settings = InductionSettings(n_trials=spec.trials, schedule=spec.schedule, seed=cell.seed)
        if caller is None:
            return Tools(engine, settings=settings, reward_row=self._reward_rows(cell, settings))
        model = next(model for model in spec.models if model.label == cell.model)
        judge = self._models.judge(model.label, cell.seed, caller)
        larger = self._persona_prompts.get(model.label)
        distilled = Inductions(ModelJudge(caller, judge.options, larger), settings) if larger is not None else None
        return Tools(engine, judge, Inductions(judge, settings), distilled, settings)

    def _reward_rows(self, cell: Cell, settings: InductionSettings) -> Callable[[str], RewardRow]:
        """Makes the rows of reward models on the cell's encoder or base model."""
        spec = self._spec
        base = self._bases.get(cell.model or "") if kind_of(cell) == "base_model" else None
        encoder = next((encoder for encoder in spec.encoders if encoder.label == cell.model), None)
        if base is not None:
            encoder = encoder_of(base.spec, spec.encoders)

        def folder(method: str, fold: int) -> Path:
            return self._folder.model_folder(Cell(cell.dataset, method, cell.model, cell.seed), fold)

        shelf = Shelf(folder, lambda held_out: self._prompts(base, cell, settings, held_out)) if base else None
        # One store for all rows: it holds the encoder, which may be a language model.
        store = cache(lambda: open_store(self._embeddings, encoder.encoder)) if encoder is not None else None

        @cache
        def row(name: str) -> RewardRow:
            method, where = reward_method(name), f"settings of reward model {name!r}"
            options = options_of(spec, name, seed=cell.seed, base=base.spec if base else None, encoder=encoder)
            n_shown = method.n_shown(given_for(spec, name).settings, where)
            path, device = (base.path, base.spec.device) if base else (None, None)
            return RewardRow(Recipe(method, options, store, path, device, n_shown), pool_of(spec, name), shelf=shelf)

        return row

    def _prompts(self, base: Base, cell: Cell, settings: InductionSettings, held_out: HeldOut) -> RunPrompts:
        """The personas a base model is told: from a file, from the run folder, or written now."""
        if base.prompts is not None:
            return RunPrompts(base.prompts, f"from {Path(base.spec.prompts or '').name}")
        is_crossed = base.spec.cross_fitted
        writer = writer_of(base.spec, [model.label for model in self._spec.models]) or EMBEDDED
        named = Cell(cell.dataset, "cross-fitted" if is_crossed else "whole", writer, cell.seed)
        path = self._folder.path / "prepared" / f"{named.name}.jsonl"
        if not path.is_file():
            users = pool_users(held_out, self._datasets[cell.dataset].spec.min_pairs)
            only = None if is_crossed else stopping(users, held_out)
            chosen = replace(settings, variant="both")
            if writer == EMBEDDED:
                _write_prompts(path, EmbeddedFit(chosen), users, only)
            else:
                with self._opened(writer) as opened:
                    engine = ModelFit(self._models.judge(writer, cell.seed, opened), chosen)
                    _write_prompts(path, engine, users, only, caller=opened)
        return RunPrompts(read_prepared(path), f"written by {writer}")


def _write_prompts(
    path: Path,
    engine: FitEngine,
    users: Sequence[User],
    only: Mapping[str, set[str]] | None,
    *,
    caller: Caller | None = None,
) -> None:
    """All prompts in one file, there whole or not at all.

    Raises:
        ModelUnavailable: If the model could not be asked to the end; what it answered is kept in the cache.
        StoreError: If the file cannot be written.
    """
    report, unfinished = Preparation(), path.with_suffix(".part")
    try:
        private_folder(path.parent)
        prompts = prepare_prompts(engine, users, report, min_pairs=1, cross_fitted=True, only=only)
        for _ in write_prepared(unfinished, prompts):
            pass
        if NOT_DONE in report.failed.values():
            raise (caller and caller.stopped) or ModelUnavailable("the run was stopped")
        os.replace(unfinished, path)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written ({error.strerror or error}); check the disk") from None


def _usage(caller: Caller | None) -> dict[str, float]:
    """What a model was asked so far."""
    return asdict(caller.ledger.total) if caller is not None else {}


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
