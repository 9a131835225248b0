"""What a runner hands to rows on base models: settings, folders, and personas written or read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from personalrm.bench.methods.language_models import LanguageTools, RunPrompts, Trainings
from personalrm.bench.methods.pools import PoolSettings, pool_users
from personalrm.bench.methods.trained import is_dev
from personalrm.bench.runs.bases import Base, given_for, settings_for
from personalrm.bench.runs.folder import RunFolder
from personalrm.bench.runs.records import Cell
from personalrm.bench.runs.reward_spec import EMBEDDED, encoder_of, writer_of
from personalrm.bench.runs.spec import RunSpec
from personalrm.bench.targets import HeldOut
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
    """What a run has beside its settings and folder."""

    judge: OpenJudge
    embeddings: str | Path
    """Folder in which the embeddings of all encoders are kept."""


def trainings_of(
    spec: RunSpec, base: Base, cell: Cell, folder: RunFolder, *, settings: InductionSettings, means: Means
) -> Trainings:
    """The trained models of a cell's base model, dataset and seed.

    Args:
        spec: The run.
        base: The cell's base model.
        cell: Any cell of the dataset and seed.
        folder: Where models and prompts are kept.
        settings: Trials and seed of the personas.
        means: Who writes them, and where embeddings are.
    """
    min_pairs = next(one.min_pairs for one in spec.datasets if one.name == cell.dataset)

    def prompts(held_out: HeldOut) -> RunPrompts:
        if base.prompts is not None:
            return RunPrompts(base.prompts, f"from {Path(base.spec.prompts or '').name}")
        writer = writer_of(base.spec, [one.label for one in spec.models]) or EMBEDDED
        kind = "cross-fitted" if base.spec.cross_fitted else "whole"
        path = folder.path / "prepared" / f"{Cell(cell.dataset, kind, writer, cell.seed).name}.jsonl"
        if not path.is_file():
            users = pool_users(held_out, min_pairs)
            only = None if base.spec.cross_fitted else stopping(users, held_out)
            if writer == EMBEDDED:
                _write(path, EmbeddedFitEngine(replace(settings, variant="both")), users, only)
            else:
                with means.judge(writer, cell.seed) as opened:
                    _write(path, ModelFit(opened, replace(settings, variant="both")), users, only)
        return RunPrompts(read_prepared(path), f"written by {writer}")

    def pool(method: str) -> PoolSettings:
        given = given_for(spec, method)
        return PoolSettings(given.pool or "unfiltered", given.pool_final or "selection")

    return Trainings(
        LanguageTools(
            base.path,
            lambda method: settings_for(spec, method, base.spec, seed=cell.seed),
            pool,
            lambda method, fold: folder.model_folder(Cell(cell.dataset, method, cell.model, cell.seed), fold),
            prompts,
            lambda: open_store(means.embeddings, encoder_of(base.spec, spec.encoders)),
            base.spec.device,
        )
    )


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
