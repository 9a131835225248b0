"""What personalrm promises to export, that pages and examples need no more, and that asking for nothing loads nothing."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import personalrm
from personalrm.lazy_names import homes, lazy_names

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "personalrm"
LISTED = {
    "personalrm": """
        Candidate Claim Demonstration Home Message Person Persona PersonalPrompt PersonalRMError PreferencePair Question
        ReadOptions SynthesizeMe User Verdict __version__ example_path example_users fit_users
        is_personalizable iter_users read_pairs
    """,
    "personalrm.bench": "Calls Judgement Knowledge Method ModelMethod evaluate personal_scorer",
    "personalrm.datasets": "HeldOut hold_out load_benchmark",
    "personalrm.induction": """
        InductionSettings PersonaPrompt SearchSettings optimize_persona_prompt persona_prompt_from_json
        persona_prompt_to_json
    """,
    "personalrm.judging": """
        EmbeddedJudge GuardedJudge Judge JudgeOptions ModelJudge ModelPolicy RulePolicy judge_both_orders
        lint_persona open_model_judge
    """,
    "personalrm.lm": "Budget Caller EmbeddingServer Endpoint LM Limits Reply Request Retry RewardServer",
    "personalrm.rewards": """
        Adapter BradleyTerry BradleyTerryOptions BradleyTerrySoup BradleyTerrySoupOptions DevUser
        EmbeddingStore EncoderSpec GPO GPOOptions HuggingFaceEncoder LanguageVPL LanguageVPLOptions Lora
        LowRank LowRankOptions MRM MRMOptions Nothing PAL PALOptions PrefixCache REWARD_MODELS RawHistory
        RewardModel SavedPrompts ScoreItem ServedRewards ServerEncoder Soup SoupOptions StylometricEncoder
        TwoLevel TwoLevelOptions VPL VPLOptions export_peft margins open_store open_trained read_prepared
        reward_function reward_method soup
    """,
    "personalrm.testing": """
        FakeServer Faults LONG SHORT ScriptedJudge ScriptedLM THREE_MODELS coached prefer_shorter
        save_tiny_model served skilled tiny_pair tiny_users write_pairs
    """,
}
PUBLIC = {package: names.split() for package, names in LISTED.items()}
NAMES = [(package, name) for package, names in PUBLIC.items() for name in names]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEAVY = ["aiohttp", "alembic", "fastapi", "numpy", "pydantic", "sqlalchemy", "torch", "transformers", "yaml"]
REPORT = f"print('loaded', sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)"
HELP = "import atexit, sys; atexit.register(lambda: {report}); sys.argv = ['personalrm', '--help']; {run}"


def loaded_by(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def deep_imports(code: str) -> Iterator[str]:
    """What a program imports from personalrm besides public names."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("personalrm."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "personalrm":
            public = [*PUBLIC.get(str(node.module), ()), *(["main"] if node.module == "personalrm.cli" else [])]
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public)


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_these(package: str) -> None:
    assert import_module(package).__all__ == PUBLIC[package]


def test_no_other_package_has_public_names() -> None:
    """Those below are for the tests and the other files of their own package."""
    lazy = [path.parent for path in SOURCE.rglob("__init__.py") if "lazy_names(__name__)" in path.read_text("utf-8")]
    assert {".".join(path.relative_to(SOURCE.parent).parts) for path in lazy} == set(PUBLIC)


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_sorted_and_in_dir(package: str) -> None:
    assert dir(import_module(package)) == PUBLIC[package] == sorted(PUBLIC[package])


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda value: value)
def test_a_public_name_resolves(package: str, name: str) -> None:
    value = getattr(import_module(package), name)
    assert value is getattr(import_module(package), name)
    if name != "__version__":
        assert value is getattr(import_module(homes(package)[name]), name)


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda value: value)
def test_a_public_class_or_function_has_a_docstring(package: str, name: str) -> None:
    value = getattr(import_module(package), name)
    if callable(value):
        assert (inspect.getdoc(value) or "").partition("(")[0] != name  # what a dataclass without one gets


def test_a_name_is_public_in_one_place() -> None:
    assert len({name for _, name in NAMES}) == len(NAMES)


def test_no_public_name_is_that_of_a_module() -> None:
    """The module would take its place in the package as soon as anybody imports it."""
    folders = {package: SOURCE.parent.joinpath(*package.split(".")) for package in PUBLIC}
    modules = {(package, path.stem) for package, folder in folders.items() for path in folder.iterdir()}
    assert sorted(set(NAMES) & modules) == []


@pytest.mark.parametrize("package", PUBLIC)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nobody'"):
        _ = import_module(package).Nobody


def test_a_package_without_source_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "without_init").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    load, _ = lazy_names("without_init")
    with pytest.raises(ImportError, match="the public names of 'without_init' are read from its source"):
        load("Anything")


def test_the_version_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert personalrm.__version__ == project["project"]["version"]


def test_importing_loads_nothing_heavy() -> None:
    assert loaded_by(f"import sys, {', '.join(PUBLIC)}; {REPORT}").stderr == "loaded []\n"


def test_help_loads_nothing_heavy() -> None:
    run = "from personalrm.cli import main; sys.exit(main())"
    answer = loaded_by(HELP.format(report=REPORT, run=run))
    assert (answer.stdout[:17], answer.stderr) == ("usage: personalrm", "loaded []\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_imports_public_names_only(page: Path) -> None:
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert [name for block in blocks for name in deep_imports(block)] == []


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_imports_public_names_only(example: Path) -> None:
    assert list(deep_imports(example.read_text(encoding="utf-8"))) == []


def test_an_example_in_a_docstring_imports_public_names_only() -> None:
    lines = [line for path in SOURCE.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    examples = [line.partition(">>> ")[2] for line in lines if ">>> from personalrm" in line]
    assert [name for example in examples for name in deep_imports(example)] == []


@pytest.mark.parametrize(
    "line", ["import personalrm.lm.batch", "from personalrm.lm.batch import Caller", "from personalrm import Caller"]
)
def test_a_deep_import_is_found(line: str) -> None:
    assert len(list(deep_imports(line))) == 1


@pytest.mark.slow
def test_a_public_name_shows_in_help() -> None:
    assert "VPL" in loaded_by("help('personalrm.rewards.VPLOptions')").stdout


@pytest.mark.parametrize("package", PUBLIC)
def test_a_type_checker_sees_the_names_and_not_getattr(package: str) -> None:
    """It takes any misspelled name for a public one where it sees `__getattr__`."""
    init = ast.parse((SOURCE.parent.joinpath(*package.split(".")) / "__init__.py").read_text(encoding="utf-8"))
    (branch,) = (node for node in init.body if isinstance(node, ast.If))
    assert ast.unparse(branch.test) == "TYPE_CHECKING"
    assert [ast.unparse(line) for line in branch.orelse] == ["__getattr__, __dir__ = lazy_names(__name__)"]
    assert "__getattr__" not in {node.name for node in init.body if isinstance(node, ast.FunctionDef)}
