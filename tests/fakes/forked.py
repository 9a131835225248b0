"""Processes of their own that start in milliseconds: forked from one that has imported what takes seconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
"""Not `fork`: the tests' process may hold threads and locks, the server does not."""
MODULES: list[str] = []


def imported_by_forked(*modules: str) -> None:
    """Have processes find these modules imported; to be called as test files are read, before the first process."""
    MODULES.extend(module for module in modules if module not in MODULES)


def start(work: Callable[..., None], *args: Any) -> BaseProcess:
    """A process that calls a function of a module; it does not outlive the tests."""
    SERVER.set_forkserver_preload(MODULES)
    process = SERVER.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def exit_code(work: Callable[..., None], *args: Any) -> int:
    """How a process that calls a function of a module ended; the number of a signal is negative."""
    return exit_code_of(start(work, *args))


def exit_code_of(process: BaseProcess) -> int:
    """The same of one that was started."""
    process.join(timeout=200)
    assert process.exitcode is not None, "the process did not end"
    return process.exitcode
