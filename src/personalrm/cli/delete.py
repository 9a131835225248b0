"""Erase everything the home folder holds about a user.

Example: personalrm delete u17 --yes
"""

from __future__ import annotations

import argparse
import sys

from personalrm.cli.options import add_config, add_home, add_json
from personalrm.cli.printing import print_json
from personalrm.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_home(parser)
    add_config(parser)
    add_json(parser)
