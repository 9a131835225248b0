"""The count of phrases on their way out: what it finds, and that its ceilings only fall."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def load(file: str) -> ModuleType:
    """A script of `.ci/` as a module."""
    name = f"ci_{file}"
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{file}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


words = load("words")

FOUND = {
    "is no X": ["it is no list", "they are no numbers"],
    "loop variable that names nothing": ["for one in rows:", "[x for k, (found, y) in z]", "for told, other in rows:"],
    "British spelling": ["def optimise():", "its behaviour", "unlabelled", "a neighbour", "Standardised"],
    "metaphor of ours": ["through the one door", "what this room takes", "the floor of a run"],
    "two names for published settings": ["FAITHFUL = 1"],
    "text that is not in the repository": ["more than the specification's", "(reward_models.md, 1.2)", "promise 2"],
}
LEFT = {
    "is no X": ["there is no such file", "is no longer there", "no list"],
    "loop variable that names nothing": ["for pair in rows:", "for one_pair in rows:", "none found in rows"],
    "British spelling": ["optimize", "noise", "promise", "advises", "raised"],
    "metaphor of ours": ["np.floor(x)", "leaves room for more", "a bedroom"],
    "two names for published settings": [".faithful()"],
    "text that is not in the repository": ["docs/reward-models.md", "it promises two"],
}


def write(folder: Path, lines: list[str]) -> Path:
    (folder / "src").mkdir()
    (folder / "src" / "a.py").write_text("\n".join(lines), encoding="utf-8")
    (folder / "src" / "data.jsonl").write_text("it is no list", encoding="utf-8")
    return folder


@pytest.mark.parametrize("title", FOUND)
def test_a_phrase_is_found_once_a_line(tmp_path: Path, title: str) -> None:
    places = words.find(write(tmp_path, FOUND[title]))
    assert places[title] == [f"src/a.py:{number}: {line}" for number, line in enumerate(FOUND[title], 1)]


@pytest.mark.parametrize("title", LEFT)
def test_what_looks_like_a_phrase_is_left(tmp_path: Path, title: str) -> None:
    assert words.find(write(tmp_path, LEFT[title]))[title] == []


def test_two_on_a_line_are_two(tmp_path: Path) -> None:
    assert len(words.find(write(tmp_path, ["is no list, is no text"]))["is no X"]) == 2


def test_every_phrase_has_a_case() -> None:
    assert set(FOUND) == set(LEFT) == set(words.PHRASES)


def test_ceilings_only_fall() -> None:
    assert words.lowered({"a": 3, "b": 3, "gone": 1}, {"a": 5, "b": 2, "new": 4}) == {"a": 3, "b": 2, "new": 4}


def test_a_phrase_above_its_ceiling_is_told() -> None:
    assert words.above({"a": 3}, {"a": 3}) == []
    (sentence,) = words.above({"a": 3}, {"a": 4})
    assert sentence.startswith("4 of 'a', 3 are allowed")


@pytest.mark.slow
def test_the_repository_is_not_above_its_ceilings() -> None:
    ceilings = json.loads(words.CEILINGS.read_text(encoding="utf-8"))
    assert list(ceilings) == list(words.PHRASES)
    counts = {title: len(places) for title, places in words.find(ROOT).items()}
    assert words.above(ceilings, counts) == []
