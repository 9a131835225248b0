import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import personalrm
from personalrm.wording import absence, count, install_hint, kind_of, visible


@pytest.mark.parametrize(
    ("n", "noun", "told"),
    [(0, "user", "0 users"), (1, "user", "1 user"), (2, "query", "2 queries"), (2, "survey", "2 surveys"),
     (1_000, "pair", "1,000 pairs"), (1, "query", "1 query")],
)  # fmt: skip
def test_a_count_has_its_noun_in_the_right_number(n, noun, told):
    assert count(n, noun) == told


def test_a_value_is_told_in_words_with_its_article():
    told = [kind_of(value) for value in (True, 1, 1.5, "a", [], {}, None, b"")]
    assert told == ["true or false", "a whole number", "a number", "a text", "a list", "keys and values", "empty",
                    "something of type bytes"]  # fmt: skip


def test_an_extra_is_installed_by_the_python_that_runs():
    assert install_hint("plots") == f"{sys.executable} -m pip install 'personalrm[plots]'"


def test_no_message_says_how_to_install_an_extra_by_heart():
    """Where `pip` is another Python's, the command would install where personalrm does not look."""
    files = Path(personalrm.__file__).parent.rglob("*.py")
    by_heart = [file.name for file in files if "pip install 'personalrm[" in file.read_text(encoding="utf-8")]
    assert by_heart == ["wording.py"]


@pytest.mark.slow
def test_an_extra_is_installed_beside_what_is_there():
    """A clone or a wheel alike: pip looks nowhere else for personalrm."""
    command = [*shlex.split(install_hint("plots")), "--no-index", "--no-deps", "--dry-run"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "already satisfied: personalrm[plots]" in answer.stdout


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\r", "\x7f", "\x9b", "\u061c", "\u200e", "\u202e", "\u2066", "\u2069", "\u2028",
                                  "\u200b", "\u2060", "\ufeff", "\ufff9", "\U000e0041", "\ud800"])  # fmt: skip
def test_what_steers_a_page_or_hides_in_it_is_shown_as_json_escapes_it(sign):
    shown = visible(f"a{sign}b")
    assert shown.isascii() and sign not in shown
    assert json.loads(f'"{shown}"') == f"a{sign}b"


def test_text_of_every_script_stays_as_it_is():
    text = "Zoë, \u05e9\u05dc\u05d5\u05dd \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f4bb\n\t\u65e5\u672c"
    assert visible(text) == text


def test_a_package_that_does_not_load_is_not_called_missing():
    assert absence(ModuleNotFoundError("No module named 'torch'"), "torch", "train").startswith(
        "torch is not installed; "
    )
    for error in (
        ImportError("libtorch.so: failed to map segment"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ):
        said = absence(error, "torch", "train")
        assert "torch is installed and cannot be loaded (" in said and "memory" in said and "\n" not in said
