"""The files that forges and tools read say what the project does: CI, pre-commit, citation, templates."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def ci_jobs() -> dict[str, Any]:
    jobs: dict[str, Any] = read(".github/workflows/ci.yml")["jobs"]
    return jobs


def test_ci_runs_every_version_we_name() -> None:
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    assert set(ci_jobs()["test"]["strategy"]["matrix"]["python"]) == named


def test_every_command_of_ci_is_one_of_the_readme() -> None:
    commands = [step["run"] for job in ci_jobs().values() for step in job["steps"] if "run" in step]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"make check", "make test"} <= set(commands)
    assert [command for command in commands if not re.search(rf"^{re.escape(command)}\b", readme, re.MULTILINE)] == []


def test_ci_says_that_it_has_not_been_run() -> None:
    assert "has not been run" in (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8").partition("\nname:")[0]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_of_a_page_is_there(page: str) -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(code_of((ROOT / page).read_text(encoding="utf-8")))))
    assert [target for target in named if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


def code_of(text: str) -> list[str]:
    """Code blocks and code in lines; words such as "make sure" are neither."""
    return re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL)


def test_pre_commit_calls_what_is_installed_here() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert [hook["id"] for hook in hooks] == ["format", "lint", "architecture"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    assert tools == {".venv/bin/ruff", ".venv/bin/python"}
    assert all((Path(sys.executable).parent / Path(tool).name).exists() for tool in tools)


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = read("CITATION.cff")
    (paper,) = citation["references"]
    assert (citation["title"], citation["version"], citation["license"]) == ("personalrm", PROJECT["version"], "MIT")
    assert citation["authors"] == PROJECT["authors"]
    assert (paper["authors"][0]["family-names"], paper["year"]) == ("Ryan", 2025)


@pytest.mark.parametrize("form", ["bug.yml", "idea.yml"])
def test_an_issue_form_asks_something(form: str) -> None:
    content = read(f".github/ISSUE_TEMPLATE/{form}")
    assert {"name", "description", "body"} <= content.keys()
    assert all({"type", "id", "attributes"} <= field.keys() for field in content["body"])
