"""The documentation: every page is in the navigation, every link leads somewhere, and the site builds where mkdocs is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.site_hooks import FROM_ROOT, REFERENCE, ROOT, SOURCE, for_site, public_names, reference, to_root_pages

import personalrm

DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml; names of Python functions in it are not looked up."""


def config() -> dict[str, Any]:
    content: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    return content


def files_of(nav: Any) -> Iterator[str]:
    """The pages of a navigation, however deep."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from files_of(entry)


def headings(page: Path) -> set[str]:
    """The anchors of a page, as forges and mkdocs both make them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[ ]", "-", re.sub(r"[^\w\- ]", "", title.lower().strip())) for title in titles}


def dead_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    found = []
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (heading and heading not in headings(file)):
            found.append(target)
    return found


def test_the_navigation_names_every_page() -> None:
    named = list(files_of(config()["nav"]))
    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")] + [*FROM_ROOT, REFERENCE]
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](b.md) [here](#one) [there](#two)\n```\n[code](c.md)\n```\n", encoding="utf-8")
    assert dead_links(page) == ["b.md", "#two"]


def test_links_of_the_root_are_those_of_the_site() -> None:
    text = "[a](docs/data.md#pairs), [b](CHANGELOG.md), [c](examples), [d](https://e.org)"
    assert for_site(text) == "[a](data.md#pairs), [b](changelog.md), c, [d](https://e.org)"


def test_links_of_docs_to_the_root_are_those_of_the_site() -> None:
    assert to_root_pages("[a](../CHANGELOG.md#b)", depth=0) == "[a](changelog.md#b)"
    assert to_root_pages("[a](../../README.md)", depth=1) == "[a](../index.md)"


def test_the_reference_has_every_public_name() -> None:
    names = public_names(SOURCE / "__init__.py")
    assert names.keys() == set(personalrm.__all__) - {"__version__"}
    assert [home for home in names.values() if f"::: {home}\n" not in reference()] == []


@pytest.mark.slow  # imports whatever is public, torch among it
def test_examples_of_the_reference_are_under_their_heading() -> None:
    """Under any other they are text to the site, where two lists below each other are a link that leads nowhere."""
    homes = re.findall(r"^::: (\S+)\.(\w+)$", reference(), re.MULTILINE)
    docs = {name: getattr(import_module(module), name).__doc__ or "" for module, name in homes}
    with_examples = {name: doc for name, doc in docs.items() if ">>>" in doc}
    assert "lint_persona" in with_examples
    assert [name for name, doc in with_examples.items() if not re.search(r"Examples:\n +>>>", doc)] == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    theme = config()["theme"]
    assert theme["font"] is False
    assert [
        page.name for page in PAGES if "```mermaid" in page.read_text(encoding="utf-8")
    ] == []  # drawn by a script from elsewhere
    assert config()["strict"] is True


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra `site`; make site builds it")
def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    loaded = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?://(?!localhost)")
    assert [file.name for file in (tmp_path / "site").rglob("*.html") if loaded.search(file.read_text("utf-8"))] == []
