"""docs/cli.md is what the command line says of itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from personalrm.cli.help_pages import help_pages

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help differently in other versions")
def test_the_checked_in_help_pages_are_current() -> None:
    """`make docs` writes them anew."""
    assert PAGE.read_text(encoding="utf-8") == help_pages()


def test_making_the_pages_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    help_pages()
    assert dict(os.environ) == before
