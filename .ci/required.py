"""Fails when a test that must run was skipped or did not run, naming it.

Usage: required.py tests/required.txt junit.xml ... (written with `-o junit_family=xunit1`).
A line of the list is a file (`tests/a.py`), a test (`tests/a.py::test_b`, with all its
parameters), or a prefix ending in `*`. Empty lines and `#` comments are left out. Says
nothing when all is well, so pytest's closing line stays the last one.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path


def required_ids(text: str) -> list[str]:
    """The ids of a list, without comments and empty lines."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def outcomes(junit: Path) -> Iterator[tuple[str, bool]]:
    """Each test's id and whether it ran; one that was skipped or was expected to fail did not."""
    for case in ElementTree.parse(junit).iter("testcase"):
        file = case.get("file", "")
        module = file.removesuffix(".py").replace("/", ".")
        classes = case.get("classname", "").removeprefix(module).strip(".").split(".")
        yield "::".join([file, *filter(None, classes), case.get("name", "")]), case.find("skipped") is None


def is_named_by(test_id: str, required: str) -> bool:
    """Whether the test belongs to a line of the list."""
    if required.endswith("*"):
        return test_id.startswith(required[:-1])
    return test_id == required or test_id.startswith((required + "[", required + "::"))


def complaints(required: Iterable[str], ran: dict[str, bool]) -> Iterator[str]:
    """One sentence for each line of the list that was not honoured."""
    for name in required:
        named = [test_id for test_id in ran if is_named_by(test_id, name)]
        if not named:
            yield f"required test {name} did not run"
        yield from (f"required test {test_id} was skipped" for test_id in named if not ran[test_id])


def main(arguments: list[str]) -> int:
    """Exit code: 0 when every required test ran, 1 otherwise."""
    listed, *junits = map(Path, arguments)
    ran = dict(outcome for junit in junits for outcome in outcomes(junit))
    found = list(complaints(required_ids(listed.read_text(encoding="utf-8")), ran))
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
