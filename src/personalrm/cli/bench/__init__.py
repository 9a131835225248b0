"""PersonalRewardBench: build a benchmark, run methods on it, report what they did.

Example: personalrm bench report runs/prism
"""

from __future__ import annotations

import argparse

from personalrm.cli.bench import build, compare, ls, personas, report, run, validate
from personalrm.cli.options import add_commands

COMMANDS = (build, run, personas, report, ls, validate, compare)
"""One module a command, in the order in which help lists them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS, dest="bench_command")
