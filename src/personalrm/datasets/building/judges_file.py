"""The list of judges of the consensus filter, from a YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.lm.opening import ModelName
from personalrm.wording import kind_of

KEYS = ("model", "base_url", "key_file", "headers", "body", "timeout", "scripted")
EXAMPLE = "judges:\n  - model: openai/gpt-4o-mini\n  - model: my-model\n    base_url: http://localhost:8000/v1"


@dataclass(frozen=True)
class JudgeEntry:
    """One judge of the list."""

    model: ModelName
    is_scripted: bool = False


def read_judges(path: str | Path) -> tuple[JudgeEntry, ...]:
    """The judges of a file, in its order.

    Raises:
        BadFile: If the file cannot be read or does not hold a list of judges.
        UnknownName: If a judge has a key nobody knows.
        BadInput: If a value does not fit, or a judge stands there twice.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadFile(f"judges file {str(path)!r} cannot be read ({type(error).__name__}); check the YAML") from None
    listed = content.get("judges") if isinstance(content, Mapping) else None
    if not isinstance(listed, list) or not listed or set(content) != {"judges"}:
        raise BadFile(f"judges file {str(path)!r} holds no list of judges; write\n{EXAMPLE}")
    judges = tuple(_entry(one, f"judge {number} of {str(path)!r}") for number, one in enumerate(listed, 1))
    names = [(one.model.name, one.model.base_url) for one in judges]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(
            f"judge {twice[0]!r} stands twice in {str(path)!r}, which would count its verdicts twice; keep one"
        )
    return judges


def _entry(content: Any, where: str) -> JudgeEntry:
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), str):
        raise BadInput(f"{where} names no model; write\n{EXAMPLE}")
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, 1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(KEYS)}"
            raise UnknownName(f"{where} has an unknown key {str(key)[:40]!r}; {advice}")
    timeout = content.get("timeout", 120.0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        raise BadInput(f"timeout of {where} is {timeout!r}; write seconds above 0")
    for key, kind, said in (
        ("base_url", str, "text"),
        ("key_file", str, "text"),
        ("headers", Mapping, "keys and values"),
        ("body", Mapping, "keys and values"),
        ("scripted", bool, "true or false"),
    ):
        if content.get(key) is not None and not isinstance(content[key], kind):
            raise BadInput(f"{key} of {where} is {kind_of(content[key])}; write {said}")
    model = ModelName(
        content["model"],
        content.get("base_url"),
        content.get("key_file"),
        content.get("headers") or {},
        content.get("body") or {},
        float(timeout),
    )
    return JudgeEntry(model, content.get("scripted") is True)
