"""The command line: one module a command, each parses, calls and prints.

Parsers are built without importing anything heavy; a command's work is imported when
it runs. Exit codes: 0 ok, 1 failed, 2 usage or refused input, 3 partly done.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress

from personalrm import __version__
from personalrm.cli import (
    ask,
    bench,
    cache,
    check,
    delete,
    demo,
    diff,
    edit,
    evaluate,
    export,
    fit,
    forget,
    hide,
    history,
    import_,
    judge,
    optimize,
    prepare_prompts,
    rank,
    restore,
    score,
    show,
    train,
    users,
    validate,
)
from personalrm.cli.options import Parser, add_commands, apply_settings
from personalrm.cli.printing import harmless, print_error
from personalrm.errors import BadInput, PersonalRMError

__all__ = ["build_parser", "main"]
COMMANDS = (
    demo,
    check,
    validate,
    fit,
    users,
    show,
    judge,
    rank,
    ask,
    evaluate,
    optimize,
    prepare_prompts,
    train,
    score,
    bench,
    edit,
    history,
    diff,
    restore,
    hide,
    forget,
    export,
    import_,
    delete,
    cache,
)
OK, FAILED, REFUSED, PARTLY = 0, 1, 2, 3


def build_parser() -> argparse.ArgumentParser:
    """The parser of `personalrm` with all its commands."""
    parser = Parser(
        prog="personalrm",
        description="Learn what each person likes from their choices, say it in words, judge as they would.",
        epilog="exit codes: 0 ok, 1 failed, 2 usage or refused input, 3 partly done. Example: personalrm demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"personalrm {__version__}")
    add_commands(parser, COMMANDS, dest="command")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; every expected failure is one sentence on stderr."""
    # Our matrices have a few dozen columns: threads would spin longer than they work. The environment wins.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _fill_closed_streams()
    parser = build_parser()
    with redirect_stderr(harmless(sys.stderr)):
        return _ended(parser, arguments if arguments is not None else sys.argv[1:])


def _ended(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code, whatever happens in it."""
    try:
        with redirect_stdout(harmless(sys.stdout)):
            options = parser.parse_args(arguments)
            apply_settings(parser, options, arguments)
            code: int = options.run(options)
            sys.stdout.flush()
        return code
    except BadInput as error:
        return print_error(error, REFUSED)
    except PersonalRMError as error:
        return print_error(error, FAILED)
    except UnicodeEncodeError as error:
        return print_error(f"the output cannot be written as {error.encoding}; set PYTHONIOENCODING=utf-8", FAILED)
    except BrokenPipeError:
        _drop_output()
        return FAILED  # the reader of our output has gone; nothing is left to say
    except OSError as error:
        _drop_output()
        reason = error.strerror or type(error).__name__
        return print_error(f"writing failed ({reason}); check the disk and where the output goes", FAILED)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return print_error("memory ran out; give it more, or use smaller batches or a smaller model", FAILED)
    except KeyboardInterrupt:
        return print_error("stopped; what was finished is saved, the same command goes on from there", PARTLY)


class _Closed(io.StringIO):
    """Standard output where the shell closed it (`>&-`): the first line that is to be printed is the failure."""

    def write(self, text: str) -> int:
        """Refuse it."""
        raise OSError(errno.EBADF, "standard output is closed")


def _fill_closed_streams() -> None:
    """Put something in the place of closed streams, whose numbers the next opened file, such as a store, would get."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            stream = _Closed() if name == "stdout" else open(os.devnull, "r+" if name == "stdin" else "w")  # noqa: SIM115
            setattr(sys, name, stream)


def _is_out_of_memory(error: BaseException) -> bool:
    """Python's own error, or what torch says on a CPU or a GPU (its class there is known only where it is loaded)."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _drop_output() -> None:
    """Let what is still buffered go nowhere; Python would try to write it again at the end, and complain."""
    with suppress(OSError):  # a stdout that is not a file has nothing to drop
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
