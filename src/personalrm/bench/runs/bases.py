"""What a run trains, checked before anything is spent: pools, and base models with the prompts their users are told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from personalrm.bench.methods.pools import PoolSettings, dev_targets
from personalrm.bench.plan.cells import kind_of, plan_cells
from personalrm.bench.plan.reward_spec import BaseModel, RewardSettings, encoder_of
from personalrm.bench.plan.spec import RunSpec
from personalrm.bench.runs.data import Dataset
from personalrm.errors import BadInput, TargetLeak
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prepared_prompts import PreparedPrompts, read_prepared
from personalrm.rewards.language_models import FINE_TUNED, Settings, language_method

PLAIN = "bradley_terry"
"""Settings under this name are those of every row of the same kind that has none of its own."""


@dataclass(frozen=True, repr=False)
class Base:
    """A base model, ready to be trained."""

    spec: BaseModel
    path: str
    """Where transformers finds it: a folder, or its name on the hub."""
    prompts: PreparedPrompts | None = None
    """From a file; None where a model of the run writes them."""
    prompts_hash: str = ""


def load_bases(spec: RunSpec, datasets: Mapping[str, Dataset], base: Path) -> dict[str, Base]:
    """The base models that the run trains, by label; each can be trained with the run's settings.

    Args:
        spec: The run.
        datasets: Its datasets.
        base: What paths are relative to: the folder of the run file.

    Raises:
        MissingExtra: If torch, transformers or PEFT is not installed.
        UnknownName: If a setting is unknown.
        BadInput: If a base model cannot be trained, a pool has nobody, or a file of prompts cannot be read.
        TargetLeak: If a prompt of a file was made from a pair that is to be scored or stops the training.
    """
    planned = plan_cells(spec)
    for method in dict.fromkeys(cell.method for cell in planned if kind_of(cell) in ("base_model", "encoder")):
        _check_pool(spec, method, datasets)
    cells = [cell for cell in planned if kind_of(cell) == "base_model"]
    found = {}
    for one in spec.base_models:
        methods = list(dict.fromkeys(cell.method for cell in cells if cell.model == one.label))
        if methods:
            found[one.label] = _base(spec, one, methods, base)
    for label, loaded in found.items():
        for dataset in datasets.values():
            _refuse_targets(loaded, label, dataset)
    return found


def settings_for(spec: RunSpec, method: str, base: BaseModel, *, seed: int) -> Settings:
    """The settings of a row on a base model."""
    kind, content = language_method(method), given_for(spec, method).settings
    if kind.reads_embeddings:
        content = {"pooling": encoder_of(base, spec.encoders).pooling, **content}
    return kind.settings(content, dtype=base.dtype, seed=seed, where=f"settings of reward model {method!r}")


def given_for(spec: RunSpec, method: str) -> RewardSettings:
    """What the run file sets for a row: under its own name, else under the plain one."""
    given = {one.method: one for one in spec.reward_models}
    is_of_plain_kind = method in FINE_TUNED and FINE_TUNED[method].place == FINE_TUNED[PLAIN].place
    return given.get(method) or (given.get(PLAIN) if is_of_plain_kind else None) or RewardSettings(method)


def pool_of(spec: RunSpec, method: str) -> PoolSettings:
    """What a row learns from where the data splits its users.

    GPO is shown tasks that are set apart, as in the paper; other rows on embeddings also learn from the context
    pairs of those they are asked about, language models from whatever is no target.
    """
    given = given_for(spec, method)
    usual = "unfiltered" if method in FINE_TUNED else "train_users" if method == "gpo" else "plus_context"
    return PoolSettings(given.pool or usual, given.pool_final or "selection")


def _base(spec: RunSpec, one: BaseModel, methods: list[str], base: Path) -> Base:
    from personalrm.rewards.language.base_models import check_base

    path = str(base / one.name) if (base / one.name).is_dir() else one.name
    for method in methods:
        options = settings_for(spec, method, one, seed=0).training
        check_base(path, options, device=one.device, plain_template=one.plain_template)
    if one.prompts is None or not any(language_method(method).needs_prompts for method in methods):
        return Base(one, path)
    prompts = read_prepared(base / one.prompts)
    return Base(one, path, prompts, hashlib.sha256((base / one.prompts).read_bytes()).hexdigest()[:16])


def _check_pool(spec: RunSpec, method: str, datasets: Mapping[str, Dataset]) -> None:
    """Refuse a pool that the data cannot fill."""
    given = given_for(spec, method)
    # Folds have no train users; of those on embeddings none reads more than context pairs.
    of_parts = ("train_users",) if method in FINE_TUNED else ("train_users", "unfiltered")
    told = [f"pool {given.pool}"] if given.pool in of_parts else []
    told += ["pool_final paper"] if given.pool_final == "paper" else []
    for name, dataset in datasets.items():
        held_out = dataset.held_out
        if told and not held_out.has_parts:
            raise BadInput(
                f"{told[0]} of method {method!r} needs train and dev users and dataset {name!r} does not split its "
                "users; leave it out, everybody is then scored by a model that has not seen them"
            )
        if held_out.has_parts and not held_out.train and pool_of(spec, method).pool == "train_users":
            raise BadInput(f"dataset {name!r} has no train users to learn from; choose pool plus_context or unfiltered")


def _refuse_targets(base: Base, label: str, dataset: Dataset) -> None:
    """Prompts of a file must have seen no target of a user who is scored or stops the training."""
    targets = {pair.hash for pair in (*dataset.held_out.targets, *dev_targets(dataset.held_out))}
    prompts: list[PersonalPrompt] = []
    if base.prompts is not None:
        prompts = [*base.prompts.whole.values(), *base.prompts.cross_fitted.values()]
    for prompt in prompts:
        if seen := prompt.context_hashes & targets:
            raise TargetLeak(
                f"the prompt of user {prompt.user_id!r} in {base.spec.prompts!r} of base model {label!r} was made from "
                f"{len(seen)} target pairs of dataset {dataset.spec.name!r}; prepare it with --hold-out"
            )
