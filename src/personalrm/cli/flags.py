"""Flags from settings classes and settings back from flags, and the kinds of values that flags take.

A settings class says at each field what its flag is called and what it means (`personalrm.settings`).
"""

from __future__ import annotations

import argparse
import json
import math
import types
import typing
from dataclasses import Field
from typing import Any, TypeVar

from personalrm.settings import Setting, flagged

Settings = TypeVar("Settings")


def add_flags(parser: argparse._ActionsContainer, kind: type, *names: str) -> None:
    """A flag for each of these fields of a settings class, in this order; without names for all that have one.

    Args:
        parser: A parser or a group of its flags.
        kind: The settings class.
        names: Of fields.
    """
    hints = typing.get_type_hints(kind)
    known = {declared.name: (declared, said) for declared, said in flagged(kind)}
    for name in names or known:
        declared, said = known[name]
        how: dict[str, Any] = {"help": help_of(declared, said)}
        if hints[name] is bool:
            how["action"] = "store_true"
        else:
            how |= {"default": declared.default if said.unset is None else None, "metavar": said.metavar}
            how |= _kind_of_value(hints[name], said)
        action = parser.add_argument(f"--{said.flag}", **how)
        action.settings = kind  # type: ignore[attr-defined]  # docs/cli.md has a table of what each flag sets


def from_flags(kind: type[Settings], options: argparse.Namespace, /, **given: Any) -> Settings:
    """Settings as the flags say; what a command has no flag for keeps its default.

    Args:
        kind: The settings class.
        options: The parsed flags.
        given: Fields that are not read from flags.
    """
    for declared, said in flagged(kind):
        value = getattr(options, said.key, None)
        if declared.name not in given and value is not None:
            given[declared.name] = not value if declared.default is True else value
    return kind(**given)


def default_of(declared: Field[Any], said: Setting) -> str | None:
    """What holds without the flag, as help pages show it; None for a switch and where nothing needs to be said."""
    if said.unset is not None or isinstance(declared.default, bool) or declared.default is None:
        return said.unset
    value = declared.default
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def help_of(declared: Field[Any], said: Setting) -> str:
    """What a help page says of the flag."""
    default = default_of(declared, said)
    return f"{said.meaning} (default: {default})".lstrip() if default else said.meaning


def _kind_of_value(hint: Any, said: Setting) -> dict[str, Any]:
    """How a text becomes a value of the field's type, in the words of argparse."""
    if isinstance(hint, types.UnionType):  # X | None
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if typing.get_origin(hint) is typing.Literal:
        return {"choices": typing.get_args(hint)}
    if typing.get_origin(hint) is tuple:
        return {"type": numbers}
    if hint is int:
        return {"type": non_negative if said.least == 0 else positive}
    if hint is float:
        return {"type": float if said.above is None else amount}
    return {}


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is below {least}")
    return number


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def non_negative(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0)


def percent_kept_back(text: str) -> int:
    """A whole number of 0 to 99, so that somebody is left."""
    number = _whole(text, 0)
    if number > 99:
        raise argparse.ArgumentTypeError(f"{text!r} is above 99 and leaves nobody")
    return number


def amount(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0 and finite")
    return number


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, separated by commas."""
    return tuple(positive(part.strip()) for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.4,0.1,0.5") from None


def folder(text: str) -> str:
    """The name of a folder; a blank one would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} does not name a folder; name one")
    return text


def json_object(text: str) -> dict[str, Any]:
    """A JSON object; NaN and what lies too deep to be written again are none."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('it must be a JSON object such as \'{"name": "value"}\'')
    return value
