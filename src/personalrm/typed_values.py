"""Frozen values from YAML and JSON, field by field, and back.

The one reader of run files, settings, saved prompts, manifests and records. A value is built as its
dataclass declares it; whatever does not fit is refused with one sentence that says what is wrong, where,
and which name was probably meant. What a person writes is refused as `BadInput` (`spec_from`); what
personalrm wrote itself, and what may since have been cut short or edited, as `CorruptFile` (`saved_value`).
"""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

from personalrm.errors import BadFile, BadInput, CorruptFile, NewerVersion, UnknownName
from personalrm.wording import kind_of, visible

Spec = TypeVar("Spec")

MOST_NESTED = 64
"""Levels of a free value, such as settings of another version. What is nested deeper was never written by us, and
would exhaust the stack where it is written again."""
CONSTRUCTING = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What YAML's constructors raise about a tag whose value is another, such as a date that is none."""
LONGEST_PROBLEM = 200
"""Characters of what YAML says is wrong, which may quote the file at length."""
MOST_BITS = 1023
"""Of a whole number: larger ones overflow a float, and Python refuses to print one of some thousand digits."""
_KINDS: Mapping[type, str] = {
    str: "a text (in quotes if need be)",
    int: "a whole number",
    float: "a number (such as 3.0e9)",
    bool: "true or false",
    list: "a list (such as [a, b])",
    dict: "keys and values",
    types.NoneType: "nothing",
}


def read_yaml(path: str | Path, what: str) -> Any:
    """What a YAML file holds; a key that stands twice is refused.

    Args:
        path: The file.
        what: What errors call it, such as `run file`.

    Raises:
        BadFile: If it cannot be read or is not YAML.
    """
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        """Refuses a key that stands twice; YAML would keep the last without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
            return super().construct_mapping(node, deep)

    where = str(path)
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=UniqueKeys)  # a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{what} {where!r} cannot be read ({type(error).__name__}); check the path") from None
    except (yaml.YAMLError, RecursionError, *CONSTRUCTING) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = visible(str(getattr(error, "problem", None) or type(error).__name__))[:LONGEST_PROBLEM]
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
    try:
        return _built(kind, content, base, is_saved=False)
    except _Misfit as misfit:
        raise misfit.error(f"{misfit.message(where)}; {misfit.advice}") from None


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
    """A frozen value, a number or a text that personalrm wrote itself; `plain` writes them.

    Args:
        kind: Its class.
        content: Of a frozen value, its keys and values.
        where: File or place, for errors.
        again: What to do about a damaged file.

    Raises:
        CorruptFile: If a key is unknown or missing, or a value does not fit.
    """
    try:
        return cast(Spec, _reader(cast(Hashable, kind), True)(content, None))
    except _Misfit as misfit:
        hint = f", not {misfit.wanted}" if misfit.wanted else f" ({misfit.advice})"
        raise CorruptFile(f"{misfit.message(where)}{hint}; {again}") from None
    except BadInput as error:  # of the class itself, which does not know where the value stands
        problem, _, advice = str(error).partition("; ")
        raise CorruptFile(f"{where}: {problem}{f' ({advice})' if advice else ''}; {again}") from None


def plain(value: Any) -> Any:
    """Frozen values, mappings and tuples as what JSON holds; fields stand in the order of their class."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def finite(value: Any) -> Any:
    """Plain values with null in place of every number that JSON does not have: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def suggestion(name: str, known: Iterable[str]) -> str:
    """Advice for the end of an error: the name that was probably meant.

    >>> suggestion("sedes", ["seeds", "models"])
    "did you mean 'seeds'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


class _Misfit(Exception):
    """A value that does not fit. Whoever read the value that holds it adds a place, so that reading what fits costs
    no texts.

    Args:
        problem: What is wrong, such as ` is a text`; stands after the place.
        advice: What to do about it.
        before: What stands before the place instead.
        wanted: What should have stood there.
        error: How it is raised where a person wrote the value.
    """

    def __init__(
        self, problem: str, advice: str, *, before: str = "", wanted: str = "", error: type[BadInput] = BadInput
    ) -> None:
        super().__init__(problem)
        self.problem, self.advice, self.before, self.wanted, self.error = problem, advice, before, wanted, error
        self.places: list[str] = []

    def message(self, where: str) -> str:
        """What is wrong, and where."""
        return f"{self.before}{' of '.join([*self.places, where])}{self.problem}"


Reader = Callable[[Any, Any], Any]
"""From a value, and what stands in its place without it, to the value as its field is declared."""


def _built(kind: type[Spec], content: Any, base: Spec | None, *, is_saved: bool) -> Spec:
    if not isinstance(content, Mapping):
        raise _Misfit(f" is {kind_of(content)}, not keys and values", "write `key: value` lines")
    declared = _declared(cast(Hashable, kind), is_saved)
    for key in content:
        if key not in declared:
            name = key[:40] if isinstance(key, str) else kind_of(key)
            raise _Misfit("", suggestion(name, declared), before=f"unknown key {name!r} in ", error=UnknownName)
    if base is None and len(content) < len(declared):
        for name, (field, _) in declared.items():
            if name not in content and field.default is MISSING and field.default_factory is MISSING:
                raise _Misfit(f" lacks {name!r}", "add it")
    values, name = {}, ""
    try:
        for name, value in content.items():
            field, read = declared[name]
            # what stands there without this key matters only to a value that is itself made of keys and values
            held = None if not isinstance(value, Mapping) else _default(field) if base is None else getattr(base, name)
            values[name] = read(value, held)
    except _Misfit as misfit:
        misfit.places.append(name)
        raise
    try:
        return kind(**values) if base is None else replace(base, **values)  # type: ignore[type-var]
    except BadInput:
        raise
    except (TypeError, ValueError, OverflowError) as error:  # of a class that checks its values with errors of its own
        raise _Misfit(f" does not fit ({error})", "correct it") from None


@cache
def _declared(kind: Any, is_saved: bool) -> dict[str, tuple[Field[Any], Reader]]:
    """The fields of a dataclass by name, each with what reads it."""
    hints = typing.get_type_hints(kind)
    return {field.name: (field, _reader(hints[field.name], is_saved)) for field in fields(kind) if field.init}


def _default(field: Field[Any]) -> Any:
    """What a field holds that is not given; MISSING where it must be."""
    return field.default if field.default_factory is MISSING else field.default_factory()


@cache
def _reader(kind: Any, is_saved: bool) -> Reader:
    """What reads a value of a declared type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        read = _reader(next(choice for choice in inner if choice is not types.NoneType), is_saved)
        return lambda value, held: None if value is None else read(value, held)
    if origin is typing.Literal:
        return _choice_of(inner)
    if origin is tuple and Ellipsis not in inner:
        return _items(tuple, [_reader(item, is_saved) for item in inner], None)
    if origin in (tuple, list):
        return _items(origin, [], _reader(inner[0], is_saved))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _entries(_reader(inner[1], is_saved))
    if is_dataclass(kind) and isinstance(kind, type):
        return lambda value, held: _built(kind, value, held if isinstance(held, kind) else None, is_saved=is_saved)
    if kind is Any:
        return _anything
    if kind is float:
        return partial(_number, is_saved)
    return partial(_exactly, kind)


def _choice_of(choices: Sequence[Any]) -> Reader:
    def read(value: Any, _: Any) -> Any:
        if value not in choices:
            shown = f"{value!r:.60}" if isinstance(value, str) else kind_of(value)
            raise _Misfit(f" is {shown}", f"use one of {', '.join(map(str, choices))}")
        return value

    return read


def _items(made: Callable[[Iterable[Any]], Any], readers: Sequence[Reader], every: Reader | None) -> Reader:
    """A list whose items are read by one reader each, or all by the same."""

    def read(value: Any, _: Any) -> Any:
        listed = _exactly(list, value)
        if every is None and len(listed) != len(readers):
            raise _Misfit(f" holds {len(listed)} items", f"write {len(readers)}", wanted=str(len(readers)))
        items, number = [], 0
        try:
            for number, item in enumerate(listed):
                items.append((every or readers[number])(item, None))
        except _Misfit as misfit:
            misfit.places.append(f"item {number + 1}")
            raise
        return made(items)

    return read


def _entries(read_entry: Reader) -> Reader:
    def read(value: Any, _: Any) -> Any:
        entries, key = {}, ""
        try:
            for key, entry in _exactly(dict, value).items():
                if not isinstance(key, str):
                    raise _Misfit(f" is {kind_of(key)}", f"write {_KINDS[str]}", before="a key of ", wanted="a text")
                entries[key] = read_entry(entry, None)
        except _Misfit as misfit:
            if isinstance(key, str):
                misfit.places.append(key[:40])
            raise
        return entries

    return read


def _number(is_saved: bool, value: Any, _: Any) -> float:
    if isinstance(value, str) and not is_saved:
        with suppress(ValueError):
            return float(value)  # YAML takes 3e9 for a text
    if isinstance(value, int) and not isinstance(value, bool):
        return float(_exactly(int, value))
    return cast(float, _exactly(float, value))


def _exactly(kind: Any, value: Any, _: Any = None) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Misfit(f" is {kind_of(value)}", f"write {_KINDS[kind]}", wanted=_KINDS[kind].partition(" (")[0])
    if kind is int and value.bit_length() > MOST_BITS:
        raise _Misfit(f" is a whole number of {value.bit_length()} bits", "use a smaller one")
    return value


def _anything(value: Any, _: Any) -> Any:
    level = [value]
    for _ in range(MOST_NESTED):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        if not parts:
            return value
        # by identity, for YAML can name one value in many places, which would be walked times without number
        level = list({id(item): item for part in parts for item in part}.values())
    raise _Misfit(f" is nested more than {MOST_NESTED} levels deep", "write plain values")
