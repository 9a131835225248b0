"""The guard of CI notices a required test that was skipped or did not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUARD = ROOT / ".ci" / "required.py"
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a" file="tests/test_a.py" name="test_ran[1]"/>
<testcase classname="tests.test_a" file="tests/test_a.py" name="test_skipped"><skipped/></testcase>
<testcase classname="tests.test_b.TestB" file="tests/test_b.py" name="test_in_class"/>
</testsuite></testsuites>"""


def guard(folder: Path, required: str) -> tuple[int, str]:
    """Exit code and complaints for a list of required tests."""
    listed, junit = folder / "required.txt", folder / "junit.xml"
    listed.write_text(required, encoding="utf-8")
    junit.write_text(JUNIT, encoding="utf-8")
    command = [sys.executable, str(GUARD), str(listed), str(junit)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return answer.returncode, answer.stderr


def test_tests_that_ran_satisfy_the_list(tmp_path: Path) -> None:
    required = "# comment\n\ntests/test_a.py::test_ran  # why\ntests/test_b.py::TestB::test_in_class\n"
    assert guard(tmp_path, required) == (0, "")


def test_a_whole_file_can_be_required(tmp_path: Path) -> None:
    assert guard(tmp_path, "tests/test_b.py\n") == (0, "")


def test_a_skipped_test_is_named(tmp_path: Path) -> None:
    assert guard(tmp_path, "tests/test_a.py\n") == (1, "required test tests/test_a.py::test_skipped was skipped\n")


def test_a_test_that_did_not_run_is_named(tmp_path: Path) -> None:
    assert guard(tmp_path, "tests/test_c.py\n") == (1, "required test tests/test_c.py did not run\n")


def test_a_name_does_not_stand_for_longer_names(tmp_path: Path) -> None:
    assert guard(tmp_path, "tests/test_a.py::test_ra\n") == (1, "required test tests/test_a.py::test_ra did not run\n")


def test_a_star_stands_for_longer_names(tmp_path: Path) -> None:
    assert guard(tmp_path, "tests/test_a.py::test_ra*\n") == (0, "")


def test_every_file_that_reads_the_shared_data_is_required() -> None:
    required = (ROOT / "tests" / "required.txt").read_text(encoding="utf-8")
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if "PERSONALRM_DATA" in path.read_text(encoding="utf-8")
    ]
    assert [name for name in readers if name not in required] == []
