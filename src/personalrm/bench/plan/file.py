"""A run file (YAML) into a `RunSpec`; wrong keys and types are refused with the place and a suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personalrm.bench.plan.spec import RunSpec
from personalrm.typed_values import plain, read_yaml, spec_from

PLACES = ("base_url", "key_variable")
"""Where a model is found is no setting of a run: the same model elsewhere gives the same run."""
HASHES = ("persona_prompts", "prepared_prompts")
"""What `run.json` says of files beside the settings."""


def read_run_file(path: str | Path) -> RunSpec:
    """The run a file describes; paths in it are relative to the file's folder.

    Raises:
        BadFile: If it cannot be read or is not YAML.
        UnknownName: If a key, method or model is unknown, with the one that was probably meant.
        BadInput: If a value is missing or does not fit.
    """
    return spec_from(RunSpec, read_yaml(path, "run file"), str(path))


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """The run as plain values for `run.json`, without where models are found and what may be spent."""
    settings: dict[str, Any] = plain(spec)
    for model in settings["models"]:
        for name in PLACES:
            model.pop(name)
    settings.pop("budget")
    return settings


def spec_of(settings: Mapping[str, Any], where: str) -> RunSpec:
    """The run that `settings_of` wrote down; its models have no place and cannot be asked."""
    return spec_from(RunSpec, {key: value for key, value in settings.items() if key not in HASHES}, where)
