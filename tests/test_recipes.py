"""What CONTRIBUTING.md promises: a new row is named in the page that is about it, and the files it speaks of are there."""

from __future__ import annotations

import re
from pathlib import Path

from personalrm.bench.methods.table import METHODS
from personalrm.preferences.reading.layouts import LAYOUTS
from personalrm.rewards.methods import REWARD_METHODS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "personalrm"
RECIPES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Recipes")[2]
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)(?:: \w+)?`")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_method_is_in_the_page_about_the_benchmark() -> None:
    assert [name for name in METHODS if f"`{name}`" not in page("benchmark.md")] == []


def test_every_layout_is_in_the_page_about_data() -> None:
    assert [
        name for name in LAYOUTS if f"`{name}`" not in page("data.md") and f"## {name}\n" not in page("data.md")
    ] == []


def test_every_reward_model_is_in_the_page_about_reward_models() -> None:
    assert [name for name in REWARD_METHODS if f"personalrm train {name} " not in page("reward-models.md")] == []


def test_the_files_of_the_recipes_are_there() -> None:
    named = {path for path in PATH.findall(RECIPES) if "NAME" not in path}
    assert len(named) > 15
    assert [path for path in sorted(named) if not (SOURCE / path).exists() and not (ROOT / path).exists()] == []


def test_there_is_a_recipe_for_each_kind_of_part() -> None:
    titles = re.findall(r"^### (.*)$", RECIPES, re.MULTILINE)
    assert titles == ["A judge", "A reward model", "A data layout", "A report figure", "A command"]
