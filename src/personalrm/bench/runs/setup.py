"""Before the first cell: what a run reads and trains is opened and checked, before anything is paid for.

Datasets, persona prompts and base models are read here; the run is described, and an earlier run in its folder must be
the same.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from personalrm import __version__
from personalrm.bench.methods.table import entry_of
from personalrm.bench.methods.trained import dev_targets
from personalrm.bench.plan.cells import kind_of, plan_cells
from personalrm.bench.plan.spec import (
    EMBEDDED,
    BaseModel,
    RunSpec,
    encoder_of,
    given_for,
    options_of,
    pool_of,
    settings_of,
    trained_method,
)
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import MethodInfo, ModelInfo, RunInfo
from personalrm.bench.runs.data import Dataset, load_dataset
from personalrm.errors import BadFile, BadInput, CorruptFile, TargetLeak
from personalrm.preferences.persona_prompts import PersonaPrompt, persona_prompt_from_json
from personalrm.preferences.prepared_prompts import PreparedPrompts, read_prepared
from personalrm.rewards.methods import reward_method
from personalrm.typed_values import plain


def load_datasets(spec: RunSpec, base: Path, data: Path | None = None) -> dict[str, Dataset]:
    """The datasets of a run by name.

    Args:
        spec: The run.
        base: What paths are relative to: the folder of the run file.
        data: Where files are looked for that are not there.

    Raises:
        BadInput: If one cannot be read, has nobody to score, or lacks what a method needs.
    """
    if data is not None and not data.is_dir():
        raise BadInput(f"data folder {str(data)!r} is not there; name the folder that holds the datasets, or none")
    places = {
        dataset.name: base if data is None or (base / dataset.path).exists() else data for dataset in spec.datasets
    }
    datasets = {
        dataset.name: load_dataset(dataset, places[dataset.name], limit=spec.limit) for dataset in spec.datasets
    }
    for method in spec.methods:
        for name, dataset in datasets.items():
            if "survey" in entry_of(method).needs and not dataset.surveys:
                raise BadInput(f"method {method!r} needs surveys and dataset {name!r} has none; name a file in surveys")
    for name, dataset in datasets.items():
        column = dataset.spec.population_leaves_out
        pairs = [pair for user in dataset.held_out.learnable.values() for pair in user] + list(dataset.held_out.targets)
        if column is not None and not all(column in pair.meta for pair in pairs):
            known = ", ".join(sorted(pairs[0].meta)) or "none"
            raise BadInput(f"dataset {name!r} lacks column {column!r} (population_leaves_out); its columns: {known}")
    return datasets


def load_persona_prompts(spec: RunSpec, base: Path) -> dict[str, PersonaPrompt]:
    """Persona prompts of larger models, by label of the model that uses them.

    Raises:
        BadFile: If a file cannot be read.
        CorruptFile: If it is not a persona prompt.
    """
    found = {}
    for model in spec.models:
        if model.persona_prompt is not None:
            try:
                text = (base / model.persona_prompt).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise BadFile(
                    f"persona prompt {model.persona_prompt!r} of model {model.label!r} cannot be read "
                    f"({type(error).__name__}); check the path"
                ) from None
            found[model.label] = persona_prompt_from_json(text, where=model.persona_prompt)
    return found


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
    bases = {}
    for model in spec.base_models:
        methods = list(dict.fromkeys(cell.method for cell in cells if cell.model == model.label))
        if methods:
            bases[model.label] = _base(spec, model, methods, base)
    for label, loaded in bases.items():
        of_file = loaded.prompts
        prompts = [*of_file.whole.values(), *of_file.cross_fitted.values()] if of_file is not None else []
        for name, dataset in datasets.items():
            # of a user who is scored or stops the training no prompt may have seen a target
            targets = {pair.hash for pair in (*dataset.held_out.targets, *dev_targets(dataset.held_out))}
            for prompt in prompts:
                if seen := prompt.context_hashes & targets:
                    raise TargetLeak(
                        f"the prompt of user {prompt.user_id!r} in {loaded.spec.prompts!r} of base model {label!r} was "
                        f"made from {len(seen)} target pairs of dataset {name!r}; prepare it with --hold-out"
                    )
    return bases


def begin_run(
    spec: RunSpec,
    datasets: Mapping[str, Dataset],
    persona_prompts: Mapping[str, PersonaPrompt],
    folder: RunFolder,
    *,
    bases: Mapping[str, Base] | None = None,
) -> None:
    """Write what the run is, or check that the folder holds this very run.

    Args:
        spec: The run.
        datasets: Its datasets, by name.
        persona_prompts: Persona prompts of larger models by label of the model that uses them.
        folder: Where the results go.
        bases: Base models to train, from `load_bases`.

    Raises:
        BadInput: If the folder holds another run, naming the first difference.
        TargetLeak: If a persona prompt was searched for with a pair that is to be scored.
    """
    for prompt in persona_prompts.values():
        for dataset in datasets.values():
            prompt.refuse_targets(dataset.held_out.targets)
    info = describe_run(spec, datasets, persona_prompts, bases=bases)
    if (folder.path / "run.json").exists():
        earlier = folder.info()
        difference = _difference(plain(replace(earlier, versions={})), plain(replace(info, versions={})))
        if difference:
            raise BadInput(
                f"{str(folder.path)!r} holds another run: {difference}; choose another folder or name, or undo it"
            )
        for name, dataset in datasets.items():
            with suppress(CorruptFile):
                folder.targets(name)
                continue
            folder.write_targets(name, dataset.target_rows)  # cut short since, and the same pairs are at hand
        return
    folder.refuse_others()
    for name, dataset in datasets.items():
        folder.write_targets(name, dataset.target_rows)
    folder.write_info(info)


def describe_run(
    spec: RunSpec,
    datasets: Mapping[str, Dataset],
    persona_prompts: Mapping[str, PersonaPrompt],
    *,
    bases: Mapping[str, Base] | None = None,
) -> RunInfo:
    """What `run.json` says; equal settings and data give equal bytes."""
    used = dict.fromkeys(cell.method for cell in plan_cells(spec))
    entries = {name: entry_of(name) for name in used}
    methods = [MethodInfo(name, entry.title, entry.group, entry.is_personal) for name, entry in entries.items()]
    models = [ModelInfo(EMBEDDED, "embedded engine")] if spec.embedded else []
    models += [ModelInfo(encoder.label, f"encoder {encoder.name}") for encoder in spec.encoders]
    for model in spec.models:
        kind = model.name.partition("/")[0] if model.base_url is None else "server"
        models.append(ModelInfo(model.label, kind, model.family, model.n_parameters, model.scripted))
    named = {model.label for model in models}
    for base in (base for base in spec.base_models if base.label not in named):
        models.append(ModelInfo(base.label, f"base model {base.name}", base.family, base.n_parameters))
    versions = {"personalrm": __version__, "python": platform.python_version(), "numpy": np.__version__}
    settings = settings_of(spec)
    settings["persona_prompts"] = {}
    for label, prompt in sorted(persona_prompts.items()):
        text = json.dumps([prompt.instruction, [[example.choices, example.persona] for example in prompt.examples]])
        settings["persona_prompts"][label] = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    if hashes := {label: base.prompts_hash for label, base in sorted((bases or {}).items()) if base.prompts_hash}:
        settings["prepared_prompts"] = hashes
    infos = tuple(datasets[dataset.name].info for dataset in spec.datasets)
    return RunInfo(spec.name, settings, versions, tuple(methods), tuple(models), infos)


def _difference(earlier: Any, now: Any, where: str = "") -> str:
    """The first place where two plain values differ; empty when they are equal."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        for key in sorted({*earlier, *now}):
            found = _difference(earlier.get(key), now.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
        return ""
    if isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now):
        items = enumerate(zip(earlier, now, strict=True))
        return next(filter(None, (_difference(a, b, f"{where}[{n}]") for n, (a, b) in items)), "")
    return "" if earlier == now else f"{where} was {_short(earlier)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _base(spec: RunSpec, model: BaseModel, methods: list[str], base: Path) -> Base:
    """A base model that can be trained by these methods, with the prompts of its file."""
    from personalrm.rewards.language.lora import check_base

    path = str(base / model.name) if (base / model.name).exists() else model.name
    for name in methods:
        method, encoder = reward_method(name), encoder_of(model, spec.encoders)
        method.n_shown(given_for(spec, name).settings, f"settings of reward model {name!r}")
        options = method.training(options_of(spec, name, seed=0, base=model, encoder=encoder))
        if hasattr(options, "lora"):  # a class of another package may train it otherwise
            check_base(path, options, device=model.device, plain_template=model.plain_template)
    if model.prompts is None or not any(reward_method(name).needs_prompts for name in methods):
        return Base(model, path)
    prompts = read_prepared(base / model.prompts)
    return Base(model, path, prompts, hashlib.sha256((base / model.prompts).read_bytes()).hexdigest()[:16])


def _check_pool(spec: RunSpec, method: str, datasets: Mapping[str, Dataset]) -> None:
    """Refuse a pool that the data cannot fill."""
    given = given_for(spec, method)
    # Folds have no train users; of those on embeddings none reads more than context pairs.
    of_parts = ("train_users",) if trained_method(method) is not None else ("train_users", "unfiltered")
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
