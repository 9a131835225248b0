"""What a settings class says at each field: default, bounds, flag, help.

The command line, the keys of the settings file, the checks of values and the table in docs/cli.md
are made from it, so that a setting is added or changed in one place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from personalrm.errors import BadInput

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting:
    """What is known of a field besides its type and its default."""

    meaning: str
    flag: str
    """At the command line, without the leading dashes; with `_` for `-` also the key in the settings file. Empty for
    a field that only Python sets."""
    metavar: str | None
    unset: str | None
    """What holds where the flag is not given, in words, where the default of the field does not say it."""
    least: float | None
    above: float | None

    @property
    def key(self) -> str:
        """The name in the settings file and in the parsed options."""
        return self.flag.replace("-", "_")


def setting(
    default: Value,
    meaning: str = "",
    *,
    flag: str = "",
    metavar: str | None = None,
    unset: str | None = None,
    least: float | None = None,
    above: float | None = None,
) -> Value:
    """A field of a settings class.

    Args:
        default: Its default. A flag for a truth that is true by default turns it off.
        meaning: What the help page says of its flag, without the default.
        flag: At the command line, such as `max-calls`; empty for a field that only Python sets.
        metavar: What stands for the value on the help page.
        unset: What holds without the flag, in words, where the default does not say it.
        least: Smallest value; None is without a bound.
        above: The value must be larger than this, and finite.
    """
    return field(default=default, metadata={"setting": Setting(meaning, flag, metavar, unset, least, above)})


def flagged(kind: type) -> Iterator[tuple[Field[Any], Setting]]:
    """The fields of a settings class that have a flag."""
    for declared in fields(kind):
        known = declared.metadata.get("setting")
        if known is not None and known.flag:
            yield declared, known


def check_bounds(settings: Any) -> None:
    """Refuse values outside the bounds of their fields; None, where a field allows it, has no bounds.

    Raises:
        BadInput: If there is one.
    """
    for declared in fields(settings):
        known, value = declared.metadata.get("setting"), getattr(settings, declared.name)
        if known is None or value is None:
            continue
        # Written so that NaN, which is neither below nor above anything, is refused too.
        if known.least is not None and not known.least <= value < math.inf:
            raise BadInput(f"{declared.name} must be at least {known.least}, got {value!r}")
        if known.above is not None and not known.above < value < math.inf:
            raise BadInput(f"{declared.name} must be above {known.above} and finite, got {value!r}")
