"""Settings as frozen values: from YAML or JSON, field by field, with a place and a suggestion for what is wrong."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.wording import kind_of

Spec = TypeVar("Spec")


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
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place is not None else ""
        told = getattr(error, "problem", None) or type(error).__name__
        raise BadFile(f"{what} {where!r} is not YAML{line} ({told}); correct it") from None


def spec_from(kind: type[Spec], content: Any, where: str, *, base: Spec | None = None) -> Spec:
    """A frozen value from a mapping, field by field.

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
    if not isinstance(content, Mapping):
        raise BadInput(f"{where} is {kind_of(content)}, not keys and values; write `key: value` lines")
    hints = typing.get_type_hints(kind)
    declared = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]  # every Spec is a dataclass
    for key in content:
        if key not in declared:
            raise UnknownName(f"unknown key {str(key)!r} in {where}; {suggestion(str(key), declared)}")
    for name, one in declared.items():
        if base is None and name not in content and _default(one) is MISSING:
            raise BadInput(f"{where} lacks {name!r}; add it")
    held = {name: _default(one) if base is None else getattr(base, name) for name, one in declared.items()}
    told = {key: _value(value, hints[key], f"{key} of {where}", held[key]) for key, value in content.items()}
    return kind(**told) if base is None else replace(base, **told)  # type: ignore[type-var]


def _default(one: Field[Any]) -> Any:
    """What a field holds that is not given; MISSING where it must be."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def suggestion(name: str, known: Iterable[str]) -> str:
    """Advice for the end of an error: the name that was probably meant.

    >>> suggestion("sedes", ["seeds", "models"])
    "did you mean 'seeds'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def _value(value: Any, kind: Any, where: str, held: Any = None) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        wanted = next(one for one in inner if one is not types.NoneType)
        return None if value is None else _value(value, wanted, where, held)
    if origin is typing.Literal:
        if value not in inner:
            raise BadInput(f"{where} is {value!r}; use one of {', '.join(map(str, inner))}")
        return value
    if origin in (tuple, list):
        listed = _expected(value, list, where)
        kinds = list(inner) if origin is tuple and Ellipsis not in inner else [inner[0]] * len(listed)
        if len(kinds) != len(listed):
            raise BadInput(f"{where} holds {len(listed)} items; write {len(kinds)}")
        items = enumerate(zip(listed, kinds, strict=True), 1)
        return origin(_value(one, kind, f"item {n} of {where}") for n, (one, kind) in items)
    if origin is dict:
        return dict(_expected(value, dict, where))
    if is_dataclass(kind) and isinstance(kind, type):
        return spec_from(kind, value, where, base=held if isinstance(held, kind) else None)
    if kind is float and not isinstance(value, bool):
        with suppress(ValueError, TypeError):
            return float(value)  # also 3e9, which YAML takes for a text
    return _expected(value, kind, where)


def _expected(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadInput(f"{where} is {kind_of(value)}; write {_KINDS[kind]}")
    return value


_KINDS: Mapping[type, str] = {
    str: "a text (in quotes if need be)",
    int: "a whole number",
    float: "a number such as 3.0e9",
    bool: "true or false",
    list: "a list, such as [a, b]",
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
