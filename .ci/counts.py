"""Count how large and how tangled a checkout is: `python .ci/counts.py [FOLDER ...]`, a column a folder.

Over `src`, `benchmarks` and `tests` together, and over `src` alone, so that moving lines from one to the other saves
nothing. Standard library only, so it also counts a checkout whose packages are not installed.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SETTINGS_ENDINGS = ("Options", "Settings", "Spec")
PACKAGE = "personalrm"


@dataclass(frozen=True)
class Source:
    """One Python file of a checkout."""

    path: Path
    """From the folder of the checkout."""
    text: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """The package it belongs to, as imports spell it: `personalrm.bench.runs`, `tests.bench`."""
        folders = self.path.parts[1:-1] if self.path.parts[0] == "src" else self.path.parts[:-1]
        return ".".join(folders)


def read_sources(checkout: Path, tops: Iterable[str]) -> list[Source]:
    """Every Python file under some top folders of a checkout."""
    paths = [path for top in tops for path in sorted((checkout / top).rglob("*.py"))]
    texts = [(path.relative_to(checkout), path.read_text(encoding="utf-8")) for path in paths]
    return [Source(path, text, ast.parse(text, str(path))) for path, text in texts]


def private_functions_with_one_caller(source: Source) -> list[str]:
    """Names of private functions and methods that their file mentions once outside themselves."""
    functions = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(node.name)
    ]
    mentions = Counter(_mentions(source.tree))
    return [node.name for node in functions if mentions[node.name] - Counter(_mentions(node))[node.name] == 1]


def is_private(name: str) -> bool:
    """Whether a name begins with an underscore and is not one that Python gives."""
    return name.startswith("_") and not name.endswith("__")


def _mentions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def settings_classes(source: Source) -> list[str]:
    """Names of classes that end as settings do."""
    classes = [node.name for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    return [name for name in classes if name.endswith(SETTINGS_ENDINGS)]


def arrows(sources: Iterable[Source]) -> set[tuple[str, str]]:
    """Which package imports which, imports inside functions included; a package's own modules are no arrow."""
    sources = list(sources)
    parts = {source.part for source in sources}
    found = set()
    for source in sources:
        for module in _imported(source.tree):
            target = module
            while target and target not in parts:  # a module's package, and a name's module
                target = target.rpartition(".")[0]
            if target and target != source.part:
                found.add((source.part, target))
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_of(part: str) -> str:
    """The part as the layout draws it: `bench` of `personalrm.bench.runs`."""
    names = part.split(".")
    return names[1] if names[0] == PACKAGE and len(names) > 1 else names[0]


def counts(checkout: Path) -> dict[str, int]:
    """Every count of a checkout by its title, in the order of the table."""
    found: dict[str, int] = {}
    for title, tops in (("src, benchmarks, tests", ("src", "benchmarks", "tests")), ("src", ("src",))):
        sources = read_sources(checkout, tops)
        between = arrows(sources)
        found |= {
            f"{title}: lines": sum(source.text.count("\n") for source in sources),
            f"{title}: files": len(sources),
            f"{title}: private functions with one caller": sum(
                len(private_functions_with_one_caller(source)) for source in sources
            ),
            f"{title}: classes ending in {', '.join(SETTINGS_ENDINGS)}": sum(
                len(settings_classes(source)) for source in sources
            ),
            f"{title}: arrows between packages": len(between),
            f"{title}: arrows between parts": len(
                {(top_of(a), top_of(b)) for a, b in between if top_of(a) != top_of(b)}
            ),
        }
    return found


def main() -> None:
    """Print the table."""
    checkouts = [Path(name) for name in sys.argv[1:]] or [Path(__file__).parents[1]]
    columns = [counts(checkout) for checkout in checkouts]
    print("| | " + " | ".join(checkout.resolve().name for checkout in checkouts) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for title in columns[0]:
        print(f"| {title} | " + " | ".join(f"{column[title]:,}" for column in columns) + " |")


if __name__ == "__main__":
    main()
