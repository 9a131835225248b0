"""The command line in this process: what it prints, without the second in which a process of its own would start."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

from personalrm.cli import main


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def ended(*arguments: object) -> Ended:
    """Runs a command to its end."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return Ended(code, out.getvalue(), err.getvalue())


def output_of(*arguments: object, expected: int = 0) -> str:
    """What a command prints.

    Raises:
        AssertionError: If it ends with another exit code.
    """
    code, out, err = ended(*arguments)
    assert code == expected, f"{arguments} ended with {code}: {err}{out}"
    return out
