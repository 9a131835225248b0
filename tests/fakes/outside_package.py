"""A package outside the repository: importable as `elsewhere`, with entry points as an installed package has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from personalrm import plugins
from personalrm.bench.methods import table
from personalrm.preferences.reading import layouts


@contextmanager
def outside_package(folder: Path, modules: Mapping[str, str], entry_points: str) -> Iterator[Path]:
    """The folder, with the package in its folder `site`, until it is left.

    Args:
        folder: Where it is written.
        modules: Its modules, by name.
        entry_points: As for `declare`.
    """
    package = folder / "site" / "elsewhere"
    package.mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(text)
    declare(folder, entry_points)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(package.parent))
        yield folder
    _forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "elsewhere"]:
        del sys.modules[name]


def declare(folder: Path, entry_points: str) -> None:
    """Give the package in this folder these entry points, written as in `entry_points.txt`."""
    info = folder / "site" / "elsewhere-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    _forget()


def _forget() -> None:
    """What was found under other entry points, or in another test's package."""
    plugins.entry_points_of.cache_clear()
    layouts._other_layout.cache_clear()
    table._own.cache_clear()


def personalrm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, run in the folder, which finds the package there."""
    return subprocess.run(
        [sys.executable, "-m", "personalrm", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "site"), "PERSONALRM_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
