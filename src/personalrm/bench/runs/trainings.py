"""What a runner hands to rows on base models: settings, folders, and personas written or read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from personalrm.bench.methods.folds import is_dev
from personalrm.bench.methods.language_models import LanguageTools, RunPrompts, Trainings
from personalrm.bench.methods.pools import pool_users
from personalrm.bench.plan.cells import Cell
from personalrm.bench.plan.reward_spec import EMBEDDED, encoder_of, writer_of
from personalrm.bench.plan.spec import RunSpec
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.runs.bases import Base, pool_of, settings_for
from personalrm.datasets.targets import HeldOut
from personalrm.errors import ModelUnavailable, StoreError
from personalrm.induction.embedded_fit import EmbeddedFitEngine
from personalrm.induction.fit_job import NOT_DONE, FitEngine
from personalrm.induction.model_fit import ModelFit
from personalrm.induction.prepared import Preparation, prepare_prompts
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.preferences.prepared_prompts import read_prepared, write_prepared
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User
from personalrm.rewards.trained import open_store

OpenJudge = Callable[[str, int], AbstractContextManager[ModelJudge]]
"""The judge of a model of the run, by label and seed, closed at the end."""


@dataclass(frozen=True, repr=False)
class Means:
    """What the trainings of a run are made with."""

    spec: RunSpec
    folder: RunFolder
    """Where models and prompts are kept."""
    judge: OpenJudge
    """Opens the model that writes personas."""
    embeddings: str | Path
    """Folder in which the embeddings of all encoders are kept."""


def trainings_of(means: Means, base: Base, cell: Cell, settings: InductionSettings) -> Trainings:
    """The trained models of a cell's base model, dataset and seed.

    Args:
        means: What they are made with.
        base: The cell's base model.
        cell: Any cell of the dataset and seed.
        settings: Trials and seed of the personas.
    """
    spec = means.spec

    def place(method: str, fold: int) -> Path:
        return means.folder.model_folder(Cell(cell.dataset, method, cell.model, cell.seed), fold)

    tools = LanguageTools(
        base.path,
        lambda method: settings_for(spec, method, base.spec, seed=cell.seed),
        lambda method: pool_of(spec, method),
        place,
        lambda held_out: _prompts(means, base, cell, settings, held_out=held_out),
        lambda: open_store(means.embeddings, encoder_of(base.spec, spec.encoders).encoder),
        base.spec.device,
    )
    return Trainings(tools)


def _prompts(means: Means, base: Base, cell: Cell, settings: InductionSettings, *, held_out: HeldOut) -> RunPrompts:
    """From a file, from the run folder, or written now."""
    if base.prompts is not None:
        return RunPrompts(base.prompts, f"from {Path(base.spec.prompts or '').name}")
    spec, is_crossed = means.spec, base.spec.cross_fitted
    writer = writer_of(base.spec, [one.label for one in spec.models]) or EMBEDDED
    named = Cell(cell.dataset, "cross-fitted" if is_crossed else "whole", writer, cell.seed)
    path = means.folder.path / "prepared" / f"{named.name}.jsonl"
    if not path.is_file():
        users = pool_users(held_out, next(one.min_pairs for one in spec.datasets if one.name == cell.dataset))
        only = None if is_crossed else stopping(users, held_out)
        chosen = replace(settings, variant="both")
        if writer == EMBEDDED:
            _write(path, EmbeddedFitEngine(chosen), users, only)
        else:
            with means.judge(writer, cell.seed) as opened:
                _write(path, ModelFit(opened, chosen), users, only)
    return RunPrompts(read_prepared(path), f"written by {writer}")


def stopping(users: Sequence[User], held_out: HeldOut) -> dict[str, set[str]]:
    """Conversations that stop a training of users whose whole prompt has seen them: one prompt without each."""
    if held_out.dev:
        return {}
    stoppers = [user for user in users if is_dev(user)]
    return {user.user_id: {pair.conversation_key for pair in split_context(user.pairs).validation} for user in stoppers}


def n_conversations(user: User, only: Mapping[str, Collection[str]] | None) -> int:
    """How many prompts a user gets that are made without one conversation."""
    keys = {pair.conversation_key for pair in user.pairs}
    wanted = len(keys if only is None else keys & set(only.get(user.user_id, ())))
    return wanted if len(keys) > 1 else 0


def _write(path: Path, engine: FitEngine, users: Sequence[User], only: Mapping[str, set[str]] | None) -> None:
    """All prompts in one file, there whole or not at all.

    Raises:
        ModelUnavailable: If the model could not be asked to the end; what it answered is kept by the door.
        StoreError: If the file cannot be written.
    """
    report, unfinished = Preparation(), path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prompts = prepare_prompts(engine, users, report, min_pairs=1, cross_fitted=True, only=only)
        for _ in write_prepared(unfinished, prompts):
            pass
        if NOT_DONE in report.failed.values():
            raise _stopped(engine)
        os.replace(unfinished, path)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written ({error.strerror or error}); check the disk") from None


def _stopped(engine: FitEngine) -> ModelUnavailable:
    judge = getattr(engine, "judge", None)
    return (judge.caller.stopped if judge is not None else None) or ModelUnavailable("the run was stopped")
