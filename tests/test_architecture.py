"""The arrows of the layout, read from the source: a room imports only rooms below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "personalrm"

# What a room may import directly; through it, all below. Rooms that do not exist yet are here too.
ROOMS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "wording": (),
    "lazy_names": (),
    "whole_files": (),
    "stopping": ("errors",),
    "typed_values": ("errors", "wording"),
    "settings": ("errors",),
    "plugins": ("errors", "typed_values"),
    "preferences": ("errors", "wording", "typed_values", "settings", "plugins", "lazy_names", "whole_files"),
    "stats": ("errors", "wording"),
    "lm": ("preferences",),
    "embedding": ("lm",),
    "prompts": ("preferences",),
    "stylometry": ("stats", "embedding"),
    "judging": ("prompts", "stylometry"),
    "store": ("preferences",),
    "induction": ("judging", "store", "stopping"),
    "rewards": ("prompts", "stylometry", "store", "stopping"),
    "datasets": ("judging", "store", "stopping"),
    "bench": ("rewards", "induction", "datasets"),
    "home": ("bench",),
    "service": ("home",),
    "cli": ("home",),
    "testing": ("embedding", "prompts"),  # embedding for the torch of tiny models; rooms above must stay out
    "__main__": ("cli",),
    "__init__": ("home",),  # the public names
}
EXTRA_ARROWS = {"cli/serve.py": ("service",)}
TORCH_ROOMS = {"embedding", "rewards"}
PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}
EMPTY_NAMES = {"utils", "helpers", "common", "core"}


def below(rooms: tuple[str, ...]) -> set[str]:
    """The rooms and everything that can be reached from them."""
    return set(rooms).union(*(below(ROOMS[room]) for room in rooms))


def imports(path: Path, root: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports, also inside functions and by `import_module`."""
    package = ["personalrm", *path.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(name.value) for name in node.args if isinstance(name, ast.Constant))


def sources(root: Path) -> list[tuple[str, str, Path]]:
    """Room, path inside the package, and file, for every source file."""
    files = sorted(root.rglob("*.py"))
    return [(file.relative_to(root).parts[0].removesuffix(".py"), str(file.relative_to(root)), file) for file in files]


def public_names(root: Path) -> set[str]:
    """Dotted public names of the packages; files inside import each from the module that defines it.

    A package that hands out names from many modules would otherwise tie all of them together in circles.
    """
    found = set()
    for init in root.glob("*/__init__.py"):
        for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found |= {f"personalrm.{init.parent.name}.{name}" for name in ast.literal_eval(node.value)}
    return found - {"personalrm.cli.main", "personalrm.cli.build_parser"}  # defined in `cli/__init__.py` itself


def offences(root: Path) -> list[str]:
    """Everything in a source tree that the layout forbids, one line each."""
    found = []
    public = public_names(root)
    for room, name, file in sources(root):
        if room not in ROOMS:
            found.append(f"{name}: {room} is no room of the layout")
            continue
        allowed = below(ROOMS[room] + EXTRA_ARROWS.get(name, ())) | {room, "__version__"}
        for module in imports(file, root):
            top, _, rest = module.partition(".")
            if module in public:
                found.append(f"{name}: import {rest} from the module that defines it")
            if top == "personalrm" and (target := rest.split(".")[0]) not in allowed:
                found.append(f"{name}: {room} must not import {target or 'personalrm'}")
            if top == "torch" and room not in TORCH_ROOMS:
                found.append(f"{name}: torch outside embedding and rewards")
            if top in PICKLERS:
                found.append(f"{name}: imports {top}")
    return found


def tree(root: Path, **files: str) -> Path:
    """A small package in a folder; `cli__serve` stands for cli/serve.py."""
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.slow
def test_every_room_imports_only_rooms_below_it() -> None:
    assert offences(SOURCE) == []


def test_no_room_or_file_has_an_empty_name() -> None:
    assert [path for path in SOURCE.rglob("*") if path.stem in EMPTY_NAMES] == []


def test_an_arrow_that_points_up_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, preferences__pairs="from personalrm.store.users import Users\n")
    assert offences(root) == ["preferences/pairs.py: preferences must not import store"]


def test_an_import_inside_a_function_counts(tmp_path: Path) -> None:
    root = tree(tmp_path, stats__means="def mean():\n    from personalrm import preferences\n")
    assert offences(root) == ["stats/means.py: stats must not import preferences"]


def test_a_relative_import_counts(tmp_path: Path) -> None:
    root = tree(tmp_path, prompts__text="from ..judging import embedded\nfrom . import templates\n")
    assert offences(root) == ["prompts/text.py: prompts must not import judging"]


def test_an_import_by_name_counts(tmp_path: Path) -> None:
    root = tree(tmp_path, store__users="import importlib\nimportlib.import_module('personalrm.cli')\n")
    assert offences(root) == ["store/users.py: store must not import cli"]


def test_the_public_names_are_not_imported_from_inside(tmp_path: Path) -> None:
    root = tree(tmp_path, bench__runs="import personalrm\nfrom personalrm import User, __version__\n")
    assert offences(root) == [
        "bench/runs.py: bench must not import personalrm",
        "bench/runs.py: bench must not import User",
    ]


def test_a_public_name_of_a_package_is_not_imported_from_inside(tmp_path: Path) -> None:
    line = "from personalrm.judging import Judge\n"
    root = tree(tmp_path, bench__runs=line, cli__fit=line.replace("import J", "import j"), judging__judge="")
    (root / "judging" / "__init__.py").write_text("__all__ = ['Judge']\n", encoding="utf-8")
    assert offences(root) == ["bench/runs.py: import judging.Judge from the module that defines it"]


def test_arrows_are_transitive(tmp_path: Path) -> None:
    assert offences(tree(tmp_path, cli__fit="from personalrm.errors import PersonalRMError\n")) == []


def test_only_the_serve_command_imports_the_service(tmp_path: Path) -> None:
    line = "from personalrm.service import app\n"
    root = tree(tmp_path, cli__serve=line, cli__fit=line)
    assert offences(root) == ["cli/fit.py: cli must not import service"]


def test_torch_stays_in_its_rooms(tmp_path: Path) -> None:
    root = tree(tmp_path, rewards__vpl="import torch\n", stylometry__weights="from torch import nn\n")
    assert offences(root) == ["stylometry/weights.py: torch outside embedding and rewards"]


def test_pickle_is_found(tmp_path: Path) -> None:
    assert offences(tree(tmp_path, store__cache="import pickle\n")) == ["store/cache.py: imports pickle"]


def test_an_unknown_room_is_found(tmp_path: Path) -> None:
    assert offences(tree(tmp_path, tools__text="")) == ["tools/text.py: tools is no room of the layout"]
