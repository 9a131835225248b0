"""The one reader of frozen values: what is wrong is said with its place, and nothing gives a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from personalrm.bench.plan.cells import Cell
from personalrm.bench.plan.spec import RunSpec
from personalrm.bench.results.records import JudgementRow, RunInfo
from personalrm.datasets.building.publishing import BuiltFrom
from personalrm.errors import BadInput, CorruptFile, NewerVersion, PersonalRMError, UnknownName
from personalrm.induction.search.trials_file import Trial
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personas import Persona
from personalrm.typed_values import (
    check_version,
    finite,
    plain,
    read_yaml,
    saved_object,
    saved_value,
    spec_from,
)


@dataclass(frozen=True)
class Steps:
    n_steps: int = 10
    rate: float = 0.5


@dataclass(frozen=True)
class Settings:
    """One field of every kind that a settings class may declare."""

    name: str
    kind: Literal["small", "large"] = "small"
    steps: Steps = Steps()
    k: tuple[int, ...] = ()
    shares: tuple[float, float] = (0.4, 0.6)
    counts: Mapping[str, int] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)
    is_on: bool = False
    most: float | None = None

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise BadInput("name is bad; write another")
        if self.name == "odd":
            raise ValueError("odd name")


WHOLE = Settings("a", "large", Steps(3, 0.1), (1, 2), (0.5, 0.5), {"b": 1}, {"c": [None, {"d": 1.5}]}, True, 2.0)
DEEP = json.loads('{"a":' * 500 + "1" + "}" * 500)
WRONG: dict[str, tuple[Any, str, str]] = {
    "not keys": ([1], "x is a list, not keys and values; write", "x is a list, not keys and values"),
    "nothing": (None, "x is empty, not keys and values", "x is empty, not keys and values"),
    "unknown": ({"nam": 1}, "unknown key 'nam' in x; did you mean 'name'?", "unknown key 'nam' in x (did you mean 'name'?)"),
    "unknown within": ({"name": "a", "steps": {"nsteps": 1}}, "unknown key 'nsteps' in steps of x; did you mean 'n_steps'?", "unknown key 'nsteps' in steps of x"),
    "key is a number": ({3: 1}, "unknown key 'a whole number' in x", "unknown key 'a whole number' in x"),
    "missing": ({}, "x lacks 'name'; add it", "x lacks 'name' (add it)"),
    "text": ({"name": 3}, "name of x is a whole number; write a text (in quotes if need be)", "name of x is a whole number, not a text; start"),
    "choice": ({"name": "a", "kind": "huge"}, "kind of x is 'huge'; use one of small, large", "kind of x is 'huge' (use one of small, large)"),
    "choice of a list": ({"name": "a", "kind": []}, "kind of x is a list; use one of", "kind of x is a list (use one of"),
    "item": ({"name": "a", "k": [1, True]}, "item 2 of k of x is true or false; write a whole number", "item 2 of k of x is true or false, not a whole number"),
    "not a list": ({"name": "a", "k": 3}, "k of x is a whole number; write a list", "k of x is a whole number, not a list; start"),
    "too few": ({"name": "a", "shares": [1]}, "shares of x holds 1 items; write 2", "shares of x holds 1 items, not 2"),
    "entry": ({"name": "a", "counts": {"b": 0.5}}, "b of counts of x is a number; write a whole number", "b of counts of x is a number, not a whole number"),
    "key of an entry": ({"name": "a", "counts": {3: 1}}, "a key of counts of x is a whole number; write a text", "a key of counts of x is a whole number, not a text"),
    "too large": ({"name": "a", "steps": {"n_steps": 16**2000}}, "n_steps of steps of x is a whole number of 8001 bits; use a", "n_steps of steps of x is a whole number of 8001 bits (use"),
    "too large for a float": ({"name": "a", "most": 10**400}, "most of x is a whole number of 1329 bits", "most of x is a whole number of 1329 bits"),
    "truth": ({"name": "a", "is_on": "yes"}, "is_on of x is a text; write true or false", "is_on of x is a text, not true or false"),
    "deep": ({"name": "a", "free": {"b": DEEP}}, "b of free of x is nested more than 64 levels deep; write plain values", "b of free of x is nested more than 64"),
    "the class refuses": ({"name": "bad"}, "name is bad; write another", "x: name is bad (write another)"),
    "the class raises": ({"name": "odd"}, "x does not fit (odd name); correct it", "x does not fit (odd name) (correct it)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_a_person_wrote_is_refused_with_place_and_advice(case: str) -> None:
    content, said, _ = WRONG[case]
    with pytest.raises(BadInput) as caught:
        spec_from(Settings, content, "x")
    assert str(caught.value).startswith(said)
    assert isinstance(caught.value, UnknownName) == said.startswith("unknown key")


@pytest.mark.parametrize("case", WRONG)
def test_what_we_wrote_is_refused_as_a_damaged_file(case: str) -> None:
    content, _, said = WRONG[case]
    with pytest.raises(CorruptFile) as caught:
        saved_value(Settings, content, "x", again="start again")
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith("; start again")


def test_a_value_goes_out_and_comes_back() -> None:
    content = json.loads(json.dumps(plain(WHOLE)))
    assert list(content) == ["name", "kind", "steps", "k", "shares", "counts", "free", "is_on", "most"]
    assert spec_from(Settings, content, "x") == saved_value(Settings, content, "x", again="") == WHOLE


def test_what_is_named_in_part_keeps_the_rest_of_what_stands_there() -> None:
    assert spec_from(Settings, {"name": "a", "steps": {"n_steps": 3}}, "x").steps == Steps(3, 0.5)
    base = replace(WHOLE, steps=Steps(7, 0.7))
    assert spec_from(Settings, {"steps": {"n_steps": 3}}, "x", base=base) == replace(base, steps=Steps(3, 0.7))


def test_a_whole_number_is_a_number_and_a_text_is_one_only_where_a_person_wrote_it() -> None:
    read = spec_from(Settings, {"name": "a", "most": 3, "steps": {"rate": "3e9"}}, "x")
    assert (repr(read.most), read.steps.rate) == ("3.0", 3e9)
    with pytest.raises(CorruptFile, match="most of x is a text, not a number"):
        saved_value(Settings, {"name": "a", "most": "3e9"}, "x", again="")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\ud800"])
def test_what_is_not_json_is_a_damaged_file(text: str) -> None:
    with pytest.raises(CorruptFile, match=r"^x is not JSON, perhaps cut short .*; run again$"):
        saved_object(text, "x", again="run again")


@pytest.mark.parametrize(
    ("text", "said"), [("[]", "a list"), ("null", "empty"), ("NaN", "a number"), ('"a"', "a text")]
)
def test_json_that_is_not_an_object_is_a_damaged_file(text: str, said: str) -> None:
    with pytest.raises(CorruptFile, match=f"^x is {said}, not keys and values; run again$"):
        saved_object(text, "x", again="run again")


@pytest.mark.parametrize("version", [None, 0, -1, True, 1.0, "1", [1]])
def test_a_version_that_is_none_is_a_damaged_file(version: Any) -> None:
    with pytest.raises(CorruptFile, match="x has no valid format_version; run again"):
        check_version(version, 2, "x", again="run again")


def test_a_later_version_asks_for_an_upgrade() -> None:
    check_version(2, 2, "x", again="")
    with pytest.raises(NewerVersion, match="x has format version 3, this personalrm reads up to 2; upgrade personalrm"):
        check_version(3, 2, "x", again="")


def test_numbers_that_json_does_not_have_become_null() -> None:
    content = {"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "NaN"}
    assert finite(content) == {"a": [None, 1.5], "b": {"c": None}, "d": "NaN"}


@pytest.mark.parametrize(
    "text",
    [
        "name: &a [*a]",
        "name: a\nfree: &a {b: *a}",
        "name: a\nfree: {b: &a [0, 0], c: &b [*a, *a]" + "".join(f", x{n}: &b [*b, *b]" for n in range(40)) + "}",
        "name: a\nsteps: {n_steps: 0x" + "f" * 5000 + "}",
        "? 0x" + "f" * 5000 + "\n: 3",
        "name: a\nkind: 0x" + "f" * 5000,
        "name: 2020-01-01",
        "name: a\nmost: 1" + "0" * 400,
        "name: !!binary aGk=",
        "name: !!set {a, b}",
    ],
)
def test_nasty_yaml_is_read_or_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    said = refusal(lambda: spec_from(Settings, read_yaml(tmp_path / "x.yaml", "file"), "x"))
    assert "\n" not in said
    assert len(said) < 300


NASTY = (None, True, -1, 0.5, 10**400, float("nan"), float("inf"), "", "\ud800", [], [[]], {}, {"a": 1}, DEEP)
RUN = {"name": "r", "methods": ["longer"], "datasets": [{"name": "d", "path": "p"}]}
CONTENTS: dict[type, dict[str, Any]] = {
    RunSpec: RUN | {"models": [{"label": "m", "name": "n", "n_parameters": 3.0}], "by_context": {"k": [1]}},
    RunInfo: {"name": "r", "settings": {"a": 1}, "models": [{"label": "m"}], "datasets": [{"name": "d", "funnel": []}]},
    Cell: {"dataset": "d", "method": "m", "model": None, "seed": 0, "k": 3, "teacher": None, "control": "identical"},
    JudgementRow: {"pair": "p", "user": "u", "chosen_first": 0.5, "margin": None, "unscored": "x"},
    BuiltFrom: {"funnel": [{"stage": "s", "title": "t", "n_pairs": 1, "n_users": 1, "n_pairs_removed": 0,
                            "n_users_removed": 0, "removed": {"a": 1}, "examples": [], "notes": {}}], "licence": "l"},
    Trial: {"number": 0, "cell": {"instruction": 0, "examples": 0}, "users": [0], "values": [0.5], "is_full": True},
    PersonaPrompt: {"instruction": "i", "examples": [{"choices": "c", "persona": "p"}], "provenance": {"seen": ["a"]}},
    Persona: {"claims": [{"text": "t", "supporting": ["p"]}], "note": ""},
}  # fmt: skip


def refusal(read: Callable[[], object]) -> str:
    """What our error says; empty where the value is read."""
    try:
        read()
    except PersonalRMError as error:
        return str(error)
    return ""


def changed(content: Any) -> list[Any]:
    """The content with every value within it in turn replaced by every nasty one."""
    if not isinstance(content, dict | list):
        return list(NASTY)
    places = list(content) if isinstance(content, dict) else range(len(content))
    made: list[Any] = [*NASTY]
    for place in places:
        for value in changed(content[place]):
            copy: Any = dict(content) if isinstance(content, dict) else list(content)
            copy[place] = value
            made.append(copy)
    return made


@pytest.mark.parametrize("kind", CONTENTS)
def test_no_value_anywhere_in_a_file_of_ours_gives_a_traceback(kind: type) -> None:
    assert isinstance(spec_from(kind, CONTENTS[kind], "x"), kind)
    for content in changed(CONTENTS[kind]):
        written = refusal(partial(spec_from, kind, content, "x"))
        saved = refusal(partial(saved_value, kind, content, "x", again="run again"))
        assert "\n" not in written + saved
        assert saved.endswith("; run again") or not written
