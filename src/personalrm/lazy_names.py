"""The public names of a package, each loaded when first asked for: importing the package loads nothing else.

A package writes its public names once, as imports under `if TYPE_CHECKING`. Type checkers and the reference of the
documentation read them there, and so does `lazy_names` when the program runs:

    if TYPE_CHECKING:
        from personalrm.preferences.pairs import PreferencePair
    else:
        __getattr__, __dir__ = lazy_names(__name__)

Under `else`, because a type checker that sees `__getattr__` takes every misspelled name for a public one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names are imported under `if TYPE_CHECKING`."""

    def load(name: str) -> Any:
        # Python asks for __path__ and its like before the package is there; no source is read for those.
        home = None if name.startswith("__") else homes(package).get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[package], name, value)  # the next access finds it without coming here
        return value

    def names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return load, names


@cache
def homes(package: str) -> Mapping[str, str]:
    """The module that defines each public name of a package, from the package's source."""
    loader: Any = getattr(find_spec(package), "loader", None)
    source = loader.get_source(package) if loader is not None else None
    if source is None:
        raise ImportError(
            f"the public names of {package!r} are read from its source, which is missing; "
            "install personalrm with its .py files"
        )
    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("personalrm.")
        for alias in node.names
    }
