"""The records of a run from JSON, field by field.

What is read may have been cut short, edited by hand or written by a later version, so a
field of a wrong type is refused with one sentence instead of failing in a mean.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from personalrm.bench.results.records import FORMAT, FORMAT_VERSION, RunInfo
from personalrm.errors import BadInput, CorruptFile, NewerVersion

Record = TypeVar("Record")


def info_to_json(info: RunInfo) -> str:
    """`run.json`; equal runs give equal bytes.

    Raises:
        BadInput: If a setting is no plain JSON value.
    """
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **plain(info)}
    try:
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BadInput(f"run {info.name!r} holds no plain JSON values ({error}); pass plain settings") from None


def info_from_json(text: str, *, where: str) -> RunInfo:
    """The run that `info_to_json` wrote.

    Raises:
        CorruptFile: If it is cut short, no run, or a field is missing or of a wrong type.
        NewerVersion: If a later version wrote it.
    """
    content = parse(text, where=where)
    if content.pop("format", None) != FORMAT:
        raise CorruptFile(f"{where} is not the run.json of a benchmark run; pass a folder that `bench run` made")
    check_version(content.pop("format_version", None), where=where)
    return record(RunInfo, content, where=where)


def check_version(version: Any, *, where: str) -> None:
    """Refuse what a later personalrm wrote, and what has no version.

    Raises:
        CorruptFile: If the version is no whole number of at least 1.
        NewerVersion: If it is later than ours.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CorruptFile(f"{where} has no valid format_version; run the benchmark again")
    if version > FORMAT_VERSION:
        raise NewerVersion(f"{where} has format version {version}, we read up to {FORMAT_VERSION}; upgrade personalrm")


def parse(text: str, *, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CorruptFile: If the text is anything else.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise CorruptFile(
            f"{where} is not JSON, perhaps cut short ({len(text)} characters); remove it and run again"
        ) from None
    if not isinstance(content, dict):
        raise CorruptFile(f"{where} holds a {type(content).__name__}, not an object; remove it and run again")
    return content


def record(kind: type[Record], content: Mapping[str, Any], *, where: str) -> Record:
    """A frozen record from a JSON object.

    Raises:
        CorruptFile: If a field is unknown, missing, or of a wrong type or value.
    """
    known = _fields(cast(Hashable, kind))
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise CorruptFile(
                f"{where} has an unknown field {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    try:
        values = {name: _value(content[name], known[name][0]) for name in known if name in content}
        missing = [name for name, (_, is_needed) in known.items() if is_needed and name not in content]
        if missing:
            raise TypeError(f"{missing[0]} is missing")
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise CorruptFile(f"{where} is damaged ({error}); remove it and run again") from None


@cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Type and need of every field of a record."""
    types_of = typing.get_type_hints(kind)
    return {
        one.name: (types_of[one.name], one.default is MISSING and one.default_factory is MISSING)
        for one in fields(kind)
    }


def _value(value: Any, kind: Any) -> Any:
    """The value, checked and made what the field is declared to be."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _value(value, next(one for one in inner if one is not types.NoneType))
    if origin is tuple:
        return tuple(_value(one, inner[0]) for one in _expected(value, list))
    if origin is not None and origin is not typing.Literal:
        return {key: _value(one, inner[1]) for key, one in _expected(value, dict).items()}
    if is_dataclass(kind) and isinstance(kind, type):
        return record(kind, _expected(value, dict), where="a field")
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _expected(value, str if origin is typing.Literal else kind)


def _expected(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"a value is of type {type(value).__name__}, not {kind.__name__}")
    return value


def plain(value: Any) -> Any:
    """Records, mappings and tuples as what JSON holds."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
