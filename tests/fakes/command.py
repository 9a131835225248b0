"""The command line in this process: what it prints, without the second in which a process of its own would start."""

from __future__ import annotations

import contextlib
import io

from personalrm.cli import main


def output_of(*arguments: object, expected: int = 0) -> str:
    """What a command prints.

    Raises:
        AssertionError: If it ends with another exit code.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    assert code == expected, f"{arguments} ended with {code}: {err.getvalue()}{out.getvalue()}"
    return out.getvalue()
