"""The list of judges of the consensus filter, from a YAML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personalrm.errors import BadFile, BadInput
from personalrm.lm.opening import ModelName
from personalrm.typed_values import read_yaml, spec_from

EXAMPLE = "judges:\n  - model: openai/gpt-4o-mini\n  - model: my-model\n    base_url: http://localhost:8000/v1"


@dataclass(frozen=True)
class JudgeEntry:
    """One judge of the list."""

    model: ModelName
    is_scripted: bool = False


@dataclass(frozen=True)
class _Keys:
    """What the file may say of a judge."""

    model: str
    base_url: str | None = None
    key_file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 120.0
    scripted: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.timeout < math.inf:
            raise BadInput(f"timeout of judge {self.model!r} is {self.timeout!r}; write seconds above 0")


def read_judges(path: str | Path) -> tuple[JudgeEntry, ...]:
    """The judges of a file, in its order.

    Raises:
        BadFile: If the file cannot be read or does not hold a list of judges.
        UnknownName: If a judge has a key nobody knows.
        BadInput: If a value does not fit, or a judge stands there twice.
    """
    content = read_yaml(path, "judges file")
    listed = content.get("judges") if isinstance(content, Mapping) else None
    if not isinstance(listed, list) or not listed or set(content) != {"judges"}:
        raise BadFile(f"judges file {str(path)!r} does not hold a list of judges; write\n{EXAMPLE}")
    judges = tuple(_entry(entry, f"judge {number} of {str(path)!r}") for number, entry in enumerate(listed, 1))
    names = [(judge.model.name, judge.model.base_url) for judge in judges]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(
            f"judge {twice[0]!r} stands twice in {str(path)!r}, which would count its verdicts twice; keep one"
        )
    return judges


def _entry(content: Any, where: str) -> JudgeEntry:
    if isinstance(content, Mapping):  # a key without a value, as in `headers:`, says nothing
        content = {key: value for key, value in content.items() if value is not None}
    keys = spec_from(_Keys, content, where)
    model = ModelName(keys.model, keys.base_url, keys.key_file, keys.headers, keys.body, keys.timeout)
    return JudgeEntry(model, keys.scripted)
