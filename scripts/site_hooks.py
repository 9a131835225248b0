"""What the documentation site has beside the pages in docs/: start page, changelog, contributing, reference.

Used by mkdocs (`hooks` in mkdocs.yml). README, CHANGELOG and CONTRIBUTING stand at the root of the repository, where
forges look for them; the reference lists the public names, so no page has to be kept in step with them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "personalrm"
FROM_ROOT = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
REFERENCE = "reference.md"
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)\s]+)\)")
REFERENCE_HEAD = """# Reference

The public names, from their docstrings. What is not listed here is internal ([stability](stability.md)).
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for page, source in FROM_ROOT.items():
        text = for_site((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, REFERENCE, content=reference()))
    return files


def for_site(text: str) -> str:
    """A page of the root with its links as they are on the site; what is not on the site loses its link."""
    pages = {source: page for page, source in FROM_ROOT.items()}

    def link(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        path, hash_sign, heading = target.partition("#")
        if path.startswith("docs/"):
            return f"[{words}]({path.removeprefix('docs/')}{hash_sign}{heading})"
        if path in pages:
            return f"[{words}]({pages[path]}{hash_sign}{heading})"
        return words

    return LINK.sub(link, text)


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links from docs/ to pages at the root to their place on the site."""
    return to_root_pages(markdown, depth=page.file.src_uri.count("/"))


def to_root_pages(text: str, depth: int) -> str:
    """A page of docs/, so many folders deep, with its links to README, CHANGELOG and CONTRIBUTING as on the site."""
    for page, source in FROM_ROOT.items():
        text = text.replace(f"]({'../' * (depth + 1)}{source}", f"]({'../' * depth}{page}")
    return text


def public_names(init: Path) -> dict[str, str]:
    """Each name in a package's `__all__` with the full name of what it stands for, read without importing.

    A package says where a name comes from by an import, perhaps only for the type checker; a name without
    one, such as `__version__`, is left out.
    """
    names: set[str] = set()
    homes: dict[str, str] = {}
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            homes.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            names = set(ast.literal_eval(node.value))
    return {name: homes[name] for name in sorted(names & homes.keys())}


def packages() -> Mapping[str, dict[str, str]]:
    """The public names of personalrm and of each package one level below that has any, the command line's left out."""
    inits = [SOURCE / "__init__.py", *sorted(SOURCE.glob("*/__init__.py"))]
    found = {".".join(init.parent.relative_to(SOURCE.parent).parts): public_names(init) for init in inits}
    return {package: names for package, names in found.items() if names and package != "personalrm.cli"}


def reference() -> str:
    """The page of all public names."""
    lines = [REFERENCE_HEAD]
    for package, names in packages().items():
        lines.append(f"## {package}\n")
        lines += [f"::: {home}\n    options:\n      heading_level: 3\n" for home in names.values()]
    return "\n".join(lines)
