"""What CONTRIBUTING.md promises: a new row is named in the page that is about it; and no page names a file that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from personalrm.bench.methods.table import METHODS
from personalrm.preferences.reading.layouts import LAYOUTS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "personalrm"
RECIPES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Recipes")[2]
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)(?::? [\w.]+)?`")
HISTORY = {"CHANGELOG.md", "log.md"}  # they speak of the files of their day, as decisions do
PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if page.name not in HISTORY and page.parent.name != "decisions"
]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_method_is_in_the_page_about_the_benchmark() -> None:
    assert [name for name in METHODS if f"`{name}`" not in page("benchmark.md")] == []


def test_every_layout_is_in_the_page_about_data() -> None:
    assert [
        name for name in LAYOUTS if f"`{name}`" not in page("data.md") and f"## {name}\n" not in page("data.md")
    ] == []


def test_every_reward_model_is_in_the_page_about_reward_models() -> None:
    names = [name for name, entry in METHODS.items() if entry.encoder is not None]
    assert len(names) > 5
    assert [name for name in names if f"personalrm train {name} " not in page("reward-models.md")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_files_of_a_page_are_there(page: Path) -> None:
    """A page names them below src/personalrm, benchmarks or the root; NAME stands for one to be written."""
    named = {path for path in PATH.findall(page.read_text(encoding="utf-8")) if path.endswith(".py")}
    roots = (SOURCE, ROOT, ROOT / "benchmarks")
    lost = [path for path in named if "NAME" not in path and not any((root / path).exists() for root in roots)]
    assert sorted(lost) == []


def test_there_is_a_recipe_for_each_kind_of_part() -> None:
    titles = re.findall(r"^### (.*)$", RECIPES, re.MULTILINE)
    assert titles == ["A judge", "A reward model", "A data layout", "A report figure", "A command"]
