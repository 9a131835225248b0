"""What the wheel and the sdist hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from scripts.package_page import without_file_links

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DATA_KINDS = {".jsonl", ".json", ".txt", ".md", ".typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> list[str]:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist(built: Path) -> list[str]:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


@pytest.fixture(scope="module")
def metadata(built: Path) -> Message:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8"))


def shipped_files() -> set[str]:
    """Every module and data file of the source tree, as the wheel should name it."""
    kinds = DATA_KINDS | {".py"}
    return {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*") if path.suffix in kinds}


def test_the_wheel_holds_every_module_and_data_file(wheel: list[str]) -> None:
    assert shipped_files() - set(wheel) == set()


@pytest.mark.parametrize(
    "name", ["py.typed", "people/preferences.jsonl", "people/tastes.json", "stylometry/words/hedging.txt"]
)
def test_the_wheel_holds_what_the_engine_reads(wheel: list[str], name: str) -> None:
    assert f"personalrm/{name}" in wheel


def test_the_wheel_holds_nothing_but_the_package(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel} == {"personalrm", "personalrm-0.1.0.dist-info"}


@pytest.mark.parametrize("folder", ["src/personalrm", "tests", "docs", "benchmarks", "examples", ".ci"])
def test_the_sdist_holds_every_file_of(sdist: list[str], folder: str) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert {name for name in files - set(sdist) if "__pycache__" not in name} == set()


@pytest.mark.parametrize("name", ["LICENSE", "Makefile", "README.md", "CHANGELOG.md", "constraints.txt"])
def test_the_sdist_holds(sdist: list[str], name: str) -> None:
    assert name in sdist


def test_the_page_of_the_package_is_the_readme_without_links_to_files(metadata: Message) -> None:
    page = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert page.startswith("# personalrm\n")
    assert "[quickstart]" not in page
    assert "quickstart (`docs/quickstart.md`)" in page
    assert re.findall(r"\]\((?!https?://|#)", page) == []


def test_links_to_the_web_and_to_headings_stay_on_the_page() -> None:
    text = "[a](docs/a.md#b), [examples](examples), [c](#c), [d](https://e.org)"
    assert without_file_links(text) == "a (`docs/a.md`), examples, [c](#c), [d](https://e.org)"


def test_every_file_that_the_page_names_is_in_the_sdist(metadata: Message, sdist: list[str]) -> None:
    named = re.findall(r" \(`([\w./-]+)`\)", str(metadata.get_payload()))
    assert len(named) > 20
    assert set(named) - set(sdist) == set()


def test_the_metadata_says_what_is_true(metadata: Message) -> None:
    """Addresses are given when there are some; Python versions are those of the continuous integration."""
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("personalrm", "0.1.0", ">=3.11")
    assert (metadata["Home-page"], metadata["Project-URL"]) == (None, None)
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert [line for line in classifiers if line.startswith("License ::")] == []  # License-Expression says it


def test_the_first_steps_run_from_the_wheel_alone(built: Path, tmp_path: Path) -> None:
    """Python imports a wheel as it imports a folder; -S keeps this environment's own personalrm out of sight."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        archive.extractall(tmp_path / "installed")
    packages = os.pathsep.join([str(tmp_path / "installed"), *(path for path in sys.path if "site-packages" in path)])
    environment = {**os.environ, "PYTHONPATH": packages, "NO_COLOR": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-S", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True
        ).stdout

    code = "import personalrm, shutil; print(personalrm.__file__); shutil.copy(personalrm.example_path(), '.')"
    assert run("-c", code).startswith(str(tmp_path / "installed"))
    run("-m", "personalrm", "fit", "preferences.jsonl")
    assert "Prefers" in run("-m", "personalrm", "show", "henrik", "--evidence")


def test_no_benchmark_data_is_shipped(wheel: list[str], sdist: list[str]) -> None:
    """The folder of PERSONALRM_DATA is other people's data, kept gzipped, and ours to read only."""
    made_here = "tests/golden/old.tar.gz"  # what the version before wrote of the invented people that ship
    packed = [name for name in wheel + sdist if name.endswith((".gz", ".parquet", ".sqlite"))]
    assert [name for name in packed if not name.endswith(made_here)] == []


def test_the_licence_is_mit_and_travels_with_the_wheel(wheel: list[str], metadata: Message) -> None:
    assert "personalrm-0.1.0.dist-info/licenses/LICENSE" in wheel
    assert metadata["License-Expression"] == "MIT"


def test_the_core_is_lean(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert required == ["aiohttp>=3.10", "alembic>=1.13", "numpy>=1.26", "pyyaml>=6", "sqlalchemy>=2.0.30"]


def test_the_command_is_installed(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        text = archive.read("personalrm-0.1.0.dist-info/entry_points.txt").decode("utf-8")
    assert "personalrm = personalrm.cli:main" in text
