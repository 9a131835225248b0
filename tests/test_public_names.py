"""What `personalrm` promises to export, and that asking for nothing loads nothing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import personalrm

PUBLIC_NAMES = [
    "Candidate",
    "Claim",
    "Demonstration",
    "Message",
    "Persona",
    "PersonalPrompt",
    "PersonalRMError",
    "PreferencePair",
    "SynthesizeMe",
    "User",
    "Verdict",
    "__version__",
    "fit_users",
    "is_personalizable",
    "iter_users",
    "read_pairs",
]
HEAVY = ["aiohttp", "fastapi", "numpy", "pydantic", "torch"]
REPORT = f"print('loaded', sorted(set(sys.modules) & set({HEAVY})), file=sys.stderr)"
HELP = "import atexit, sys; atexit.register(lambda: {report}); sys.argv = ['personalrm', '--help']; {run}"


def loaded_by(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def test_the_public_names_are_these() -> None:
    assert personalrm.__all__ == PUBLIC_NAMES


def test_the_public_names_are_sorted() -> None:
    assert personalrm.__all__ == sorted(personalrm.__all__)


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(personalrm, name) is getattr(personalrm, name)


def test_dir_lists_the_public_names() -> None:
    assert dir(personalrm) == PUBLIC_NAMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nobody'"):
        _ = personalrm.Nobody


def test_the_version_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert personalrm.__version__ == project["project"]["version"]


def test_importing_loads_nothing_heavy() -> None:
    assert loaded_by(f"import sys, personalrm; {REPORT}").stderr == "loaded []\n"


def test_help_loads_nothing_heavy() -> None:
    run = "from personalrm.cli import main; sys.exit(main())"
    answer = loaded_by(HELP.format(report=REPORT, run=run))
    assert (answer.stdout[:17], answer.stderr) == ("usage: personalrm", "loaded []\n")
