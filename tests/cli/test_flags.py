"""Settings classes as flags and back, and what their bounds refuse."""

import argparse
from dataclasses import dataclass, fields
from typing import Literal

import pytest

from personalrm.cli.flags import add_flags, from_flags
from personalrm.datasets.building.settings import BuildSettings
from personalrm.errors import BadInput
from personalrm.induction.search.settings import SearchSettings
from personalrm.induction.settings import InductionSettings
from personalrm.judging.options import JudgeOptions
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.preferences.reading.options import ReadOptions
from personalrm.settings import check_bounds, flagged, setting

CLASSES = (BuildSettings, SearchSettings, InductionSettings, JudgeOptions, Budget, Limits, Retry, ReadOptions)


@dataclass(frozen=True)
class Toy:
    size: int = setting(3, "how many", flag="how-many", metavar="N", least=1)
    rate: float | None = setting(None, "how fast", flag="rate", unset="no limit", above=0)
    kind: Literal["a", "b"] = setting("a", "which", flag="kind")
    shows: bool = setting(True, "show nothing", flag="hide")
    skips: bool = setting(False, "skip them", flag="skip")
    parts: tuple[float, ...] = setting((0.5, 0.5), "shares", flag="parts")
    start: int = setting(0, "where to begin", flag="start", least=0)
    inner: int = 7

    def __post_init__(self) -> None:
        check_bounds(self)


def parser_of(kind, *names):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, kind, *names)
    return parser


def parsed(kind, *arguments):
    return from_flags(kind, parser_of(kind).parse_args(arguments))


@pytest.mark.parametrize("kind", CLASSES)
def test_no_flag_gives_the_defaults_of_the_class(kind):
    assert parsed(kind) == kind()


def test_flags_set_their_fields():
    arguments = "--how-many 4 --rate 2.5 --kind b --hide --skip --parts 0.1,0.9 --start 0"
    assert parsed(Toy, *arguments.split()) == Toy(4, 2.5, "b", False, True, (0.1, 0.9), 0)


def test_what_is_given_wins_and_what_has_no_flag_keeps_its_default():
    options = parser_of(Toy, "size").parse_args(["--how-many", "4"])
    assert from_flags(Toy, options, kind="b", inner=1) == Toy(4, kind="b", inner=1)


def test_the_help_says_meaning_and_default():
    text = " ".join(parser_of(Toy).format_help().split())
    assert "--how-many N how many (default: 3)" in text
    assert "how fast (default: no limit)" in text and "shares (default: 0.5,0.5)" in text
    assert "skip them" in text and "skip them (default" not in text


@pytest.mark.parametrize(
    "arguments", [("--how-many", "0"), ("--start", "-1"), ("--rate", "0"), ("--rate", "inf"), ("--kind", "c")]
)
def test_a_flag_outside_the_bounds_is_refused(arguments):
    with pytest.raises(argparse.ArgumentError):
        parsed(Toy, *arguments)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": float("nan")}, {"rate": 0.0}, {"rate": float("inf")}])
def test_python_is_held_to_the_same_bounds(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Toy(**wrong)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_setting_with_a_flag_says_what_it_means(kind):
    assert all(said.meaning for _, said in flagged(kind))
    assert len({said.flag for _, said in flagged(kind)}) == len(list(flagged(kind))) <= len(fields(kind))


@pytest.mark.parametrize("flag", ["--header", "--body"])
@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "no",
        "",
        '{"a": NaN}',
        '{"a": ' + "[" * 100_000,
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_headers_and_fields_that_are_no_json_are_a_sentence(run, flag, text):
    code, _, err = run("check", "--model", "m", "--base-url", "http://127.0.0.1:1/v1", "--attempts", "1", flag, text)
    assert code in (1, 2) and "Traceback" not in err and err.count("\n") == 1
