"""The count of size and tangles, on a toy checkout that was counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.test_words import load

counting = load("counts")

A = """
from personalrm.b.c import helper
from personalrm.a import other


class RunOptions:
    def _read(self):
        return _once() + _twice()


class Plain:
    def run(self):
        return self._read() + _twice() + _again(3)


def _once():
    return 1


def _twice():
    return 2


def _again(n):
    return _again(n - 1)


def _unused():
    def inside():
        from personalrm.d import thing
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    files = {
        "src/personalrm/__init__.py": "",
        "src/personalrm/a/__init__.py": "",
        "src/personalrm/a/one.py": A,
        "src/personalrm/b/__init__.py": "",
        "src/personalrm/b/c/__init__.py": "",
        "src/personalrm/d/__init__.py": "from personalrm.d import x\n",
        "tests/test_a.py": "import personalrm.a.one\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_toy_checkout_is_counted_right(checkout: Path) -> None:
    assert counting.counts(checkout) == {
        "src, benchmarks, tests: lines": A.count("\n") + 2,
        "src, benchmarks, tests: files": 7,
        "src, benchmarks, tests: private functions with one caller": 3,  # _read, _once, _again
        "src, benchmarks, tests: classes ending in Options, Settings, Spec": 1,
        "src, benchmarks, tests: arrows between packages": 3,  # a to b.c, a to d, tests to a
        "src, benchmarks, tests: arrows between parts": 3,
        "src: lines": A.count("\n") + 1,
        "src: files": 6,
        "src: private functions with one caller": 3,
        "src: classes ending in Options, Settings, Spec": 1,
        "src: arrows between packages": 2,
        "src: arrows between parts": 2,
    }


def test_the_table_has_a_column_a_checkout(checkout: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["counts.py", str(checkout), str(checkout)])
    counting.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == f"| | {checkout.name} | {checkout.name} |"
    assert len(rows) == 12 and all(row.count("|") == 4 for row in rows)
