"""Frozen values from YAML and JSON, field by field, and back.

The one reader of run files, settings, saved prompts, manifests and records. A value is built as its
dataclass declares it; whatever does not fit is refused with one sentence that says what is wrong, where,
and which name was probably meant. What a person writes is refused as `BadInput` (`spec_from`); what
personalrm wrote itself, and what may since have been cut short or edited, as `CorruptFile` (`saved_value`).
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from personalrm.errors import BadFile, BadInput, CorruptFile, NewerVersion, UnknownName
from personalrm.wording import kind_of

Spec = TypeVar("Spec")

MOST_NESTED = 64
"""Levels of a free value, such as settings of another version. What is nested deeper was never written by us, and
would exhaust the stack where it is written again."""
MOST_BITS = 1023
"""Of a whole number: larger ones overflow a float, and Python refuses to print one of some thousand digits."""


def read_yaml(path: str | Path, what: str) -> Any:
    """What a YAML file holds; a key that stands twice is refused.

    Args:
        path: The file.
        what: What errors call it, such as `run file`.

    Raises:
        BadFile: If it cannot be read or is not YAML.
    """
    import yaml

    where = str(path)
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_unique_keys(yaml))  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{what} {where!r} cannot be read ({type(error).__name__}); check the path") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise BadFile(f"{what} {where!r} is not YAML{line} ({problem}); correct it") from None


def spec_from(kind: type[Spec], content: Any, where: str, *, base: Spec | None = None) -> Spec:
    """A frozen value from keys and values that a person wrote.

    A value inside it that is named in part keeps the rest of what stands there without it: after
    `optimization: {n_steps: 40}` the learning rate is still the method's own.

    Args:
        kind: Its class.
        content: What is to differ from the base.
        where: File or place, for errors.
        base: What holds where the content is silent; the defaults of the class where None.

    Raises:
        UnknownName: If a key is unknown, with the one that was probably meant.
        BadInput: If a key is missing or a value is of the wrong type.
    """
    return _built(kind, content, where, base, is_saved=False)


def saved_object(text: str, where: str, *, again: str) -> dict[str, Any]:
    """The JSON object of a file that personalrm wrote.

    Args:
        text: What stands in the file.
        where: File or place, for errors.
        again: What to do about a damaged file, such as `fit again`.

    Raises:
        CorruptFile: If the text is anything else.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise CorruptFile(f"{where} is not JSON, perhaps cut short ({len(text)} characters); {again}") from None
    if not isinstance(content, dict):
        raise CorruptFile(f"{where} is {kind_of(content)}, not keys and values; {again}")
    return content


def check_version(version: Any, newest: int, where: str, *, again: str) -> None:
    """Refuse a saved file that a later personalrm wrote, or that has no version.

    Args:
        version: What the file says.
        newest: The newest version that this personalrm reads.
        where: File or place, for errors.
        again: What to do about a damaged file.

    Raises:
        CorruptFile: If the version is not a whole number of at least 1.
        NewerVersion: If it is later than the newest.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CorruptFile(f"{where} has no valid format_version; {again}")
    if version > newest:
        raise NewerVersion(
            f"{where} has format version {version}, this personalrm reads up to {newest}; upgrade personalrm"
        )


def saved_value(kind: type[Spec], content: Any, where: str, *, again: str) -> Spec:
    """A frozen value from keys and values that personalrm wrote itself; `plain` writes them.

    Args:
        kind: Its class.
        content: The keys and values.
        where: File or place, for errors.
        again: What to do about a damaged file.

    Raises:
        CorruptFile: If a key is unknown or missing, or a value does not fit.
    """
    try:
        return _built(kind, content, where, None, is_saved=True)
    except BadInput as error:
        problem, _, advice = str(error).partition("; ")
        if advice.startswith("write ") and ", not " not in problem:  # nobody is to write it: what stood there instead
            problem += f", not {advice.removeprefix('write ').partition(' (')[0]}"
        elif advice and ", not " not in problem:
            problem += f" ({advice})"
        raise CorruptFile(f"{problem if where in problem else f'{where}: {problem}'}; {again}") from None


def plain(value: Any) -> Any:
    """Frozen values, mappings and tuples as what JSON holds; fields stand in the order of their class."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def suggestion(name: str, known: Iterable[str]) -> str:
    """Advice for the end of an error: the name that was probably meant.

    >>> suggestion("sedes", ["seeds", "models"])
    "did you mean 'seeds'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def _built(kind: type[Spec], content: Any, where: str, base: Spec | None, *, is_saved: bool) -> Spec:
    if not isinstance(content, Mapping):
        raise BadInput(f"{where} is {kind_of(content)}, not keys and values; write `key: value` lines")
    declared = _declared(cast(Hashable, kind))
    for key in content:
        if key not in declared:
            name = key[:40] if isinstance(key, str) else kind_of(key)
            raise UnknownName(f"unknown key {name!r} in {where}; {suggestion(name, declared)}")
    if base is None:
        for name, (field, _) in declared.items():
            if name not in content and field.default is MISSING and field.default_factory is MISSING:
                raise BadInput(f"{where} lacks {name!r}; add it")
    values = {}
    for name, value in content.items():
        field, hint = declared[name]
        # what stands there without this key matters only to a value that is itself made of keys and values
        held = None if not isinstance(value, Mapping) else _default(field) if base is None else getattr(base, name)
        values[name] = _value(value, hint, f"{name} of {where}", held, is_saved=is_saved)
    try:
        return kind(**values) if base is None else replace(base, **values)  # type: ignore[type-var]
    except BadInput:
        raise
    except (TypeError, ValueError, OverflowError) as error:  # of a class that checks its values with errors of its own
        raise BadInput(f"{where} does not fit ({error}); correct it") from None


@cache
def _declared(kind: Any) -> dict[str, tuple[Field[Any], Any]]:
    """The fields of a dataclass by name, each with its resolved type."""
    hints = typing.get_type_hints(kind)
    return {field.name: (field, hints[field.name]) for field in fields(kind) if field.init}


def _default(field: Field[Any]) -> Any:
    """What a field holds that is not given; MISSING where it must be."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _value(value: Any, kind: Any, where: str, held: Any = None, *, is_saved: bool) -> Any:
    """The value, checked and made what the field is declared to be."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        wanted = next(choice for choice in inner if choice is not types.NoneType)
        return None if value is None else _value(value, wanted, where, held, is_saved=is_saved)
    if origin is typing.Literal:
        if value not in inner:
            shown = f"{value!r:.60}" if isinstance(value, str) else kind_of(value)
            raise BadInput(f"{where} is {shown}; use one of {', '.join(map(str, inner))}")
        return value
    if origin in (tuple, list):
        items = _expected(value, list, where)
        kinds = list(inner) if origin is tuple and Ellipsis not in inner else [inner[0]] * len(items)
        if len(kinds) != len(items):
            raise BadInput(f"{where} holds {len(items)} items; write {len(kinds)}")
        numbered = enumerate(zip(items, kinds, strict=True), 1)
        return origin(_value(item, kind, f"item {n} of {where}", is_saved=is_saved) for n, (item, kind) in numbered)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(value, inner[1], where, is_saved=is_saved)
    if is_dataclass(kind) and isinstance(kind, type):
        return _built(kind, value, where, held if isinstance(held, kind) else None, is_saved=is_saved)
    if kind is Any:
        _check_depth(value, where)
        return value
    if kind is float:
        return _number(value, where, is_saved=is_saved)
    return _expected(value, kind, where)


def _mapping(value: Any, kind: Any, where: str, *, is_saved: bool) -> dict[str, Any]:
    for key in _expected(value, dict, where):
        if not isinstance(key, str):
            raise BadInput(f"a key of {where} is {kind_of(key)}; write {_KINDS[str]}")
    return {key: _value(item, kind, f"{key:.40} of {where}", is_saved=is_saved) for key, item in value.items()}


def _number(value: Any, where: str, *, is_saved: bool) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(_expected(value, int, where))
    if isinstance(value, str) and not is_saved:
        with suppress(ValueError):
            return float(value)  # YAML takes 3e9 for a text
    return cast(float, _expected(value, float, where))


def _expected(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadInput(f"{where} is {kind_of(value)}; write {_KINDS[kind]}")
    if kind is int and value.bit_length() > MOST_BITS:
        raise BadInput(f"{where} is a whole number of {value.bit_length()} bits; use a smaller one")
    return value


def _check_depth(value: Any, where: str) -> None:
    level = [value]
    for _ in range(MOST_NESTED):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        if not parts:
            return
        # by identity, for YAML can name one value in many places, which would be walked times without number
        level = list({id(item): item for part in parts for item in part}.values())
    raise BadInput(f"{where} is nested more than {MOST_NESTED} levels deep; write plain values")


_KINDS: Mapping[type, str] = {
    str: "a text (in quotes if need be)",
    int: "a whole number",
    float: "a number (such as 3.0e9)",
    bool: "true or false",
    list: "a list (such as [a, b])",
    dict: "keys and values",
    types.NoneType: "nothing",
}


def _unique_keys(yaml: Any) -> Any:
    """A safe loader that refuses a key that stands twice; YAML would keep the last without a word."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # of a module that is imported when needed
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
            return super().construct_mapping(node, deep)

    return Loader
