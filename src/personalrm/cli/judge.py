"""Judge pairs as their users would, with the prompts of the home folder.

Rows hold `user_id`, `conversation` (or `prompt`), and `first` and `second`; rows with
`chosen` and `rejected` are judged in both orders and the verdict is compared.

Example: personalrm judge new.jsonl --home ./personalrm-home
"""

from __future__ import annotations

import argparse

from personalrm.cli.options import add_config, add_home, add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default="-", help="JSONL file, or - for standard input (the default)")
    parser.add_argument("-u", "--user", help="judge as this user, whatever the rows say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out, count them, exit with 3")
    add_home(parser)
    add_config(parser)
    add_json(parser)
