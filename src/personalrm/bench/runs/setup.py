"""Before the first cell: datasets are read, the run is described, and an earlier run in the folder must be the same."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from personalrm import __version__
from personalrm.bench.methods.table import METHODS
from personalrm.bench.plan.cells import plan_cells
from personalrm.bench.plan.file import settings_of
from personalrm.bench.plan.reward_spec import EMBEDDED
from personalrm.bench.plan.spec import RunSpec
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import MethodInfo, ModelInfo, RunInfo
from personalrm.bench.runs.bases import Base
from personalrm.bench.runs.data import Dataset, load_dataset
from personalrm.errors import BadFile, BadInput
from personalrm.preferences.persona_prompts import PersonaPrompt, persona_prompt_from_json
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
    places = {one.name: base if data is None or (base / one.path).exists() else data for one in spec.datasets}
    datasets = {one.name: load_dataset(one, places[one.name], limit=spec.limit) for one in spec.datasets}
    for method in spec.methods:
        for name, dataset in datasets.items():
            if "survey" in METHODS[method].needs and not dataset.surveys:
                raise BadInput(f"method {method!r} needs surveys and dataset {name!r} has none; name a file in surveys")
    for name, dataset in datasets.items():
        _check_column(dataset, name)
    return datasets


def load_persona_prompts(spec: RunSpec, base: Path) -> dict[str, PersonaPrompt]:
    """Persona prompts of larger models, by label of the model that uses them.

    Raises:
        BadFile: If a file cannot be read.
        CorruptFile: If it is no persona prompt.
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
        return
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
    methods = [MethodInfo(name, METHODS[name].title, METHODS[name].group, METHODS[name].is_personal) for name in used]
    models = [ModelInfo(EMBEDDED, "embedded engine")] if spec.embedded else []
    models += [ModelInfo(one.label, f"encoder {one.name}") for one in spec.encoders]
    for one in spec.models:
        kind = one.name.partition("/")[0] if one.base_url is None else "server"
        models.append(ModelInfo(one.label, kind, one.family, one.n_parameters, one.scripted))
    named = {one.label for one in models}
    for base in (one for one in spec.base_models if one.label not in named):
        models.append(ModelInfo(base.label, f"base model {base.name}", base.family, base.n_parameters))
    versions = {"personalrm": __version__, "python": platform.python_version(), "numpy": np.__version__}
    settings = settings_of(spec)
    settings["persona_prompts"] = {label: _hash_of(prompt) for label, prompt in sorted(persona_prompts.items())}
    if hashes := {label: one.prompts_hash for label, one in sorted((bases or {}).items()) if one.prompts_hash}:
        settings["prepared_prompts"] = hashes
    infos = tuple(datasets[one.name].info for one in spec.datasets)
    return RunInfo(spec.name, settings, versions, tuple(methods), tuple(models), infos)


def _hash_of(prompt: PersonaPrompt) -> str:
    text = json.dumps([prompt.instruction, [[one.choices, one.persona] for one in prompt.examples]])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _check_column(dataset: Dataset, name: str) -> None:
    column = dataset.spec.population_leaves_out
    pairs = [pair for user in dataset.held_out.learnable.values() for pair in user] + list(dataset.held_out.targets)
    if column is not None and not all(column in pair.meta for pair in pairs):
        known = ", ".join(sorted(pairs[0].meta)) or "none"
        raise BadInput(f"dataset {name!r} lacks column {column!r} (population_leaves_out); its columns: {known}")


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
