"""Classes and layouts from outside the package: written as `package.module:Class`, or by the name of an entry point.

A package that wants its classes found by name declares them under `personalrm.judges`,
`personalrm.reward_models` or `personalrm.layouts`. Loading one runs the code of its module, as importing does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal

from personalrm.errors import BadInput, PersonalRMError, UnknownName
from personalrm.typed_values import suggestion

Group = Literal["judges", "reward_models", "layouts"]


def place_of(name: str, ours: Collection[str], *groups: Group) -> str | None:
    """`package.module:Class` that a name stands for: itself, or what an entry point of the groups says; else None.

    Args:
        name: What somebody asked for; not one of ours, which are never looked up here.
        ours: Names that no entry point may bear, since nobody could tell which of the two is meant.
        groups: Where to look, one after another.

    Raises:
        BadInput: If an entry point has the name of one of ours.
    """
    if ":" in name:
        return name
    for group in groups:
        places = entry_points_of(group)
        if clash := next((taken for taken in places if taken in ours), None):
            raise BadInput(
                f"entry point {clash!r} of personalrm.{group} ({places[clash]}) has the name of one of ours; rename it "
                "in its package"
            )
        if name in places:
            return places[name]
    return None


@cache
def entry_points_of(group: Group) -> Mapping[str, str]:
    """Name -> `package.module:Class` of every installed entry point of a group.

    Raises:
        BadInput: If two packages declare different classes under one name.
    """
    from importlib.metadata import entry_points  # it imports the mail parser, which nobody needs who names no plugin

    places: dict[str, str] = {}
    for point in entry_points(group=f"personalrm.{group}"):
        if places.setdefault(point.name, point.value) != point.value:
            raise BadInput(
                f"entry point {point.name!r} of personalrm.{group} is both {places[point.name]!r} and {point.value!r}; "
                "uninstall one of their packages"
            )
    return places


def load_class(place: str, what: str, methods: Sequence[str] = ()) -> Any:
    """The class that `package.module:Class` names.

    Args:
        place: Where it is.
        what: What it is to be, for errors: `reward model`.
        methods: What it must have to be one.

    Raises:
        BadInput: If the place is not written so, its module cannot be imported, or it does not fit.
        UnknownName: If the module has no such class, with the one that was probably meant.
    """
    found = load_named(place, what, "class", lambda value: isinstance(value, type), example="Class")
    missing = [method for method in methods if not callable(getattr(found, method, None))]
    if missing:
        wanted = ", ".join(methods[:-1]) + f" and {methods[-1]}"
        raise BadInput(f"{what} {place!r} has no method {missing[0]!r}; a {what} has {wanted}")
    return found


def load_named(place: str, what: str, kind: str, fits: Callable[[object], bool], *, example: str) -> Any:
    """What `package.module:name` names.

    Args:
        place: Where it is.
        what: What it is to be, for errors: `layout`.
        kind: What the module must have under that name, for errors: `class`.
        fits: Whether a value of the module is of this kind.
        example: How errors write the name in a place.

    Raises:
        BadInput: If the place is not written so, or its module cannot be imported.
        UnknownName: If the module has nothing of the kind under that name, with what was probably meant.
    """
    module, colon, name = place.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise BadInput(f"{what} {place!r} does not name a {kind}; write package.module:{example}")
    try:
        content = import_module(module)
    except PersonalRMError:  # one of our own modules that lacks an extra
        raise
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # the module is there and lacks something itself
            raise BadInput(f"module {module!r} of {what} {place!r} needs {error.name!r}; install that") from error
        raise BadInput(
            f"module {module!r} of {what} {place!r} is not found; install its package, or add its folder to PYTHONPATH"
        ) from None
    except Exception as error:  # whatever somebody else's module raises while it is imported
        said = " ".join(str(error).split())
        raise BadInput(
            f"module {module!r} of {what} {place!r} cannot be imported ({type(error).__name__}: {said}); correct it"
        ) from error
    value = getattr(content, name, None)  # a module may hand out its names lazily
    if not fits(value):
        known = [key for key, other in vars(content).items() if fits(other) and not key.startswith("_")]
        raise UnknownName(f"module {module!r} has no {kind} {name!r} ({what} {place!r}); {suggestion(name, known)}")
    return value
