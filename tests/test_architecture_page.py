"""docs/architecture.md keeps to the code: its picture and table are fresh, its walks and its reading path can be walked."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "personalrm"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\d+\. `([\w/]+\.py): ([\w.]+)`", re.MULTILINE)
READ = re.compile(r"^\d+\. `([\w/]+\.py)`:", re.MULTILINE)
MOST_FILES = 12
"""A walk of more files is not one that somebody follows to the end."""
WALKS = {
    section.partition("\n")[0]: STEP.findall(section)
    for section in PAGE.partition("## Four walks")[2].partition("\n## ")[0].split("\n### ")[1:]
}


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((SOURCE / file).read_text(encoding="utf-8"))


def is_defined(file: str, name: str) -> bool:
    """Whether a function, class or method stands in the file, such as `Home.load`."""
    held = tree(file).body
    for part in name.split("."):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        found = [node for node in held if isinstance(node, kinds) and node.name == part]
        if not found:
            return False
        held = found[0].body
    return True


@cache
def mentioned(file: str) -> str:
    """What a file imports and the texts in it, a line each; packages also stand for what they hand on."""
    lines = []
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("personalrm"):
            lines += [f"{node.module}.{alias.name}" for alias in node.names]
            package = (node.module or "").removeprefix("personalrm").strip(".").replace(".", "/")
            if package and (SOURCE / package).is_dir() and f"{package}/__init__.py" != file:
                lines.append(mentioned(f"{package}/__init__.py"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines += [f"personalrm.{node.value}", node.value]  # tables name modules as text, with or without ours
    return "\n".join(lines)


def leads_to(file: str, target: str) -> bool:
    """Whether the file imports the target, or names its module in a table; without the first part, as tables do."""
    module = target.removesuffix(".py").replace("/", ".")
    names = (f"personalrm.{module}", f"personalrm.{module.partition('.')[2]}")
    return any(re.search(rf"^{re.escape(name)}(?![\w])", mentioned(file), re.MULTILINE) for name in names)


@pytest.mark.slow
def test_picture_and_table_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "draw_architecture.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.stderr, checked.returncode) == ("", 0)


def test_there_are_four_walks_and_a_reading_path_of_17_files() -> None:
    path = READ.findall(PAGE.partition("## The method of the paper")[2])
    assert len(WALKS) == 4
    assert (len(path), len(set(path))) == (17, 17)
    assert [file for file in path if not (SOURCE / file).is_file()] == []


@pytest.mark.parametrize("walk", WALKS)
def test_every_step_of_a_walk_is_there(walk: str) -> None:
    steps = WALKS[walk]
    assert [step for step in steps if not (SOURCE / step[0]).is_file() or not is_defined(*step)] == []
    assert len({file for file, _ in steps}) <= MOST_FILES


@pytest.mark.parametrize("walk", WALKS)
def test_every_step_is_reached_from_one_before(walk: str) -> None:
    """A walk begins with a command; a second command begins anew."""
    files = [file for file, _ in WALKS[walk]]
    assert files[0].startswith("cli/")
    lost = [
        file
        for place, file in enumerate(files)
        if not file.startswith("cli/") and not any(file == before or leads_to(before, file) for before in files[:place])
    ]
    assert lost == []


def test_what_is_not_there_is_noticed() -> None:
    assert not is_defined("store/people.py", "PeopleStore.lend")
    assert not leads_to("preferences/pairs.py", "cli/judge.py")
    assert leads_to("rewards/methods.py", "rewards/heads/two_level.py")
