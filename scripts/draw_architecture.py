"""Draws docs/pictures/architecture.svg and the table of parts in docs/architecture.md from the imports.

    python scripts/draw_architecture.py           # both anew
    python scripts/draw_architecture.py --check   # exit 1 and one sentence when one of them is stale

A part is a package directly below `personalrm`, or a module there. An arrow goes from a part to one it imports. The
picture has the packages, and leaves an arrow out where a way through other parts leads to the same; the table has
everything.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "personalrm"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "pictures" / "architecture.svg"
BEGIN, END = "<!-- table of parts: made by scripts/draw_architecture.py -->", "<!-- end of the table of parts -->"
WIDTH, HEIGHT, PASSAGE = 116, 34, 12  # of a box, and of the free space between boxes through which an arrow goes
GAP, RISE = 24, 44  # beside and below a box; all in pixels
Arrows = Mapping[str, frozenset[str]]


def parts() -> dict[str, list[Path]]:
    """The files of each part; `personalrm` itself and `__main__` only hand on and are none."""
    found: dict[str, list[Path]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        part = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part not in ("__init__", "__main__"):
            found.setdefault(part, []).append(file)
    return found


def imported(file: Path) -> Iterator[str]:
    """Dotted names inside `personalrm` that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("personalrm."))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "personalrm":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> Arrows:
    """The parts that each part imports."""
    files = parts()
    return {
        part: frozenset(name.split(".")[1] for file in held for name in imported(file)) & files.keys() - {part}
        for part, held in files.items()
    }


def packages_of(all_arrows: Arrows) -> Arrows:
    """The same without the single modules (errors, wording, ...), which nearly everything imports."""
    packages = {part for part in all_arrows if (SOURCE / part).is_dir()}
    return {part: targets & packages for part, targets in all_arrows.items() if part in packages}


def without_detours(all_arrows: Arrows) -> Arrows:
    """Only the arrows that no other way replaces."""

    def below(part: str) -> frozenset[str]:
        return frozenset().union(all_arrows[part], *(below(other) for other in all_arrows[part]))

    return {
        part: frozenset(to for to in targets if not any(to in below(other) for other in targets - {to}))
        for part, targets in all_arrows.items()
    }


def levels(drawn: Arrows) -> dict[str, int]:
    """The row of each part, counted from the top: below all that point at it, and no further up than it must be."""
    level: dict[str, int] = {}

    def level_of(part: str) -> int:
        if part not in level:
            level[part] = 1 + max((level_of(above) for above, targets in drawn.items() if part in targets), default=-1)
        return level[part]

    for part in sorted(drawn):
        level_of(part)
    for part in drawn:  # what nothing points at stands just above what it points at
        if level[part] == 0 and drawn[part]:
            level[part] = min(level[target] for target in drawn[part]) - 1
    return level


def routes(drawn: Arrows, level: Mapping[str, int]) -> list[list[str]]:
    """Each arrow as the stations it passes, one a row: a part, free spaces between boxes, a part."""
    return [
        [part, *(f"{part}>{target}@{row}" for row in range(level[part] + 1, level[target])), target]
        for part in sorted(drawn)
        for target in sorted(drawn[part])
    ]


def in_order(rows: list[list[str]], links: list[tuple[str, str]]) -> list[list[str]]:
    """The stations of each row, by where those stand that they are linked with, so that few arrows cross."""
    place = {station: number - len(row) / 2 for row in rows for number, station in enumerate(row)}
    linked: dict[str, list[str]] = {station: [] for station in place}
    for above, below in links:
        linked[above].append(below)
        linked[below].append(above)
    for _ in range(12):  # settles after a few
        for row in [*rows, *rows[::-1]]:
            center = {station: _mean([place[other] for other in linked[station]]) for station in row}
            row[:] = [station for _, station in sorted((center[station], station) for station in row)]
            place.update({station: number - len(row) / 2 for number, station in enumerate(row)})
    return rows


def _mean(numbers: list[float]) -> float:
    return round(sum(numbers) / max(1, len(numbers)), 6)


def picture(all_arrows: Arrows) -> str:
    """The SVG of the packages: boxes in rows, arrows downwards between them."""
    drawn = without_detours(packages_of(all_arrows))
    level = levels(drawn)
    paths = routes(drawn, level)
    rows: list[list[str]] = [[] for _ in range(1 + max(level.values()))]
    for station in dict.fromkeys([*sorted(drawn), *(station for path in paths for station in path)]):
        rows[level[station] if station in level else int(station.split("@")[1])].append(station)
    rows = in_order(rows, [link for path in paths for link in pairwise(path)])
    widths = {station: WIDTH if station in drawn else PASSAGE for row in rows for station in row}
    width = 2 * GAP + max(sum(widths[station] + GAP for station in row) - GAP for row in rows)
    height = 2 * GAP + len(rows) * (HEIGHT + RISE) - RISE
    center: dict[str, int] = {}
    for row in rows:
        x = (width - sum(widths[station] + GAP for station in row) + GAP) // 2
        for station in row:
            center[station] = x + widths[station] // 2
            x += widths[station] + GAP
    top = {station: GAP + number * (HEIGHT + RISE) for number, row in enumerate(rows) for station in row}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        ' role="img" aria-label="The parts of personalrm and what each imports" font-family="sans-serif">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#6b7280"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for path in paths:
        curve = f"M{center[path[0]]} {top[path[0]] + HEIGHT}"
        for above, below in pairwise(path):
            y, to_y = top[above] + HEIGHT, top[below]
            middle = (y + to_y) // 2
            curve += f"V{y}C{center[above]} {middle} {center[below]} {middle} {center[below]} {to_y}"
        lines.append(f'<path d="{curve}" fill="none" stroke="#6b7280" marker-end="url(#head)"/>')
    for part in sorted(drawn):
        x, y = center[part], top[part]
        lines += [
            f'<rect x="{x - WIDTH // 2}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="#eef2ff"',
            f' stroke="#4f46e5"/><text x="{x}" y="{y + 22}" text-anchor="middle" font-size="14">{part}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def table(all_arrows: Arrows) -> str:
    """The parts from top to bottom: what each is, by its docstring, and all it imports."""
    level = levels(without_detours(all_arrows))
    lines = [BEGIN, "", "| part | what is in it | imports |", "| --- | --- | --- |"]
    for part in sorted(all_arrows, key=lambda part: (level[part], part)):
        where = SOURCE / part / "__init__.py" if (SOURCE / part).is_dir() else SOURCE / f"{part}.py"
        doc = ast.get_docstring(ast.parse(where.read_text(encoding="utf-8"))) or ""
        what = " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")
        lines.append(f"| `{part}` | {what} | {', '.join(sorted(all_arrows[part])) or 'nothing'} |")
    return "\n".join([*lines, "", END])


def made() -> dict[Path, str]:
    """What both files must hold."""
    all_arrows = arrows()
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return {PAGE: before + table(all_arrows) + rest.split(END)[1], PICTURE: picture(all_arrows)}


def main(arguments: list[str]) -> int:
    """Write both files, or with `--check` say which is stale; the exit code."""
    wanted = made()
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for file in stale:
            sys.stderr.write(f"{file.relative_to(ROOT)} is stale; run make docs\n")
        return 1 if stale else 0
    for file in stale:
        file.write_text(wanted[file], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
