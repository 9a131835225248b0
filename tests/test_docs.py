"""Every block a reader may copy from README and docs runs, and so does every docstring example.

The blocks of a page run in order, in one empty folder that holds `preferences.jsonl`, the people
that ship with the package; Python blocks of a page share their names. A block under the line
`<!-- not run: reason -->` is left out.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from personalrm.cli import main

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PEOPLE = SOURCE / "personalrm" / "people" / "preferences.jsonl"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "servers").glob("*.md"))]
FENCE = re.compile(r"^(`{3,})(\w*)")
MARKER = re.compile(r"^<!-- not run: \S.* -->$")
PROMPT = "$ personalrm"
SHELL = re.compile(r"[|&;<>$`*?~#]")
"""What a shell reads in another way than as a word."""
WITH_EXAMPLES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@dataclass(frozen=True)
class Block:
    """A fenced block that runs."""

    language: str
    text: str
    line: int
    """Number of the line after the opening fence."""


def blocks(page: str) -> Iterator[Block]:
    """The Python and console blocks of a page, without those marked as not run."""
    lines = page.splitlines()
    said, at = "", 0  # the last line that was not blank, outside blocks
    while at < len(lines):
        fence = FENCE.match(lines[at].strip())
        if fence:
            start = at = at + 1
            while at < len(lines) and not lines[at].strip().startswith(fence[1]):
                at += 1
            if fence[2] in ("python", "console", "sh") and not MARKER.match(said):
                yield Block(fence[2], "\n".join(lines[start:at]), start + 1)
            said = ""
        elif lines[at].strip():
            said = lines[at].strip()
        at += 1


def commands(block: Block) -> list[str]:
    """The `$ personalrm` lines, with the lines a backslash continues; all else is output or not ours."""
    joined = block.text.replace("\\\n", " ")
    return [line.strip()[2:] for line in joined.splitlines() if line.strip().startswith(PROMPT)]


def run_command(command: str, where: str) -> None:
    """Runs a command as a shell would; one that asks nothing of a shell runs in this process, whose imports are done."""
    words = shlex.split(command)
    if not SHELL.search(command):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main(words[1:])
            except SystemExit as stop:
                code = stop.code
        assert not code, f"{where}: {command} exited {code}: {err.getvalue()}"
        return
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERSONALRM_")}
    answer = subprocess.run(
        ["sh", "-c", command],
        env={**environment, "PATH": path, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, f"{where}: {command} exited {answer.returncode}: {answer.stderr}"


def run_page(page: Path) -> int:
    """Runs the page in the current folder; how many blocks and commands ran."""
    names: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            # Blank lines in front keep the page's line numbers in tracebacks.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
            ran += 1
        for command in commands(block) if block.language != "python" else []:
            run_command(command, f"{page.name}:{block.line}")
            ran += 1
    return ran


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PERSONALRM_")]:
        monkeypatch.delenv(name)
    shutil.copy(PEOPLE, tmp_path / "preferences.jsonl")
    run_page(page)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_docstring_examples_hold(path: Path) -> None:
    module = import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    assert doctest.testmod(module).failed == 0


def test_blocks_of_a_page_share_their_names(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n", encoding="utf-8")
    assert run_page(page) == 2


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nraise LookupError\n```\n", encoding="utf-8")
    with pytest.raises(LookupError) as caught:
        run_page(page)
    assert caught.traceback[-1].lineno == 3


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ personalrm no-such-command\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.md:2: personalrm no-such-command exited 2"):
        run_page(page)


def test_a_marked_block_does_not_run() -> None:
    assert list(blocks("<!-- not run: needs a model -->\n\n```python\nx\n```\n")) == []


def test_a_marker_without_a_reason_does_not_count() -> None:
    assert len(list(blocks("<!-- not run: -->\n```python\nx\n```\n"))) == 1


def test_only_lines_with_our_prompt_are_commands() -> None:
    block = Block("console", "$ make demo\n$ personalrm fit \\\n  a.jsonl\nfitted\n$ personalrm show u", 1)
    assert [command.split() for command in commands(block)] == [
        ["personalrm", "fit", "a.jsonl"],
        ["personalrm", "show", "u"],
    ]
