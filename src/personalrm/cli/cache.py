"""Look at the home folder's cache of model answers, or erase it.

Example: personalrm cache info --home ./personalrm-home
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json
from personalrm.errors import BadInput, UnknownUser
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.lm.cache import Cache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("info", "clear"), help="info: what it holds; clear: erase it")
    parser.add_argument("-u", "--user", help="clear: erase the answers of this user only")
    parser.add_argument("--yes", action="store_true", help="clear: erase everybody's answers, which cost money again")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    if not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; pass the right --home")
    path = Path(options.home) / "cache.sqlite"
    if options.action == "clear":
        return _clear(path, options)
    if options.user is not None or options.yes:
        raise BadInput("--user and --yes are for clear; leave them out with info")
    return _tell(path, options)


def _tell(path: Path, options: argparse.Namespace) -> int:
    from personalrm.lm.cache import Cache

    with Cache(path, read_only=True) as cache:
        found = cache.report()
    if options.json:
        print_json({"path": str(path), **asdict(found), "by_model": dict(found.by_model)})
        return 0
    print(f"{path}  {found.n_bytes / 2**20:.1f} MB")
    print(f"  {count(found.n_answers, 'answer')}, {found.n_unscored:,} unscored, of {count(found.n_owners, 'user')}")
    for model, n in found.by_model:
        print(f"  {n:8,}  {model or '(no name)'}")
    return 0


def _clear(path: Path, options: argparse.Namespace) -> int:
    from personalrm.lm.cache import Cache

    if options.user is None and not options.yes:
        raise BadInput("nothing was erased; pass --yes to erase everybody's answers, or -u USER for those of one user")
    n_answers = 0
    if path.exists():
        with Cache(path) as cache:
            n_answers = _erase(cache, options.user)
    elif options.user is not None:
        raise _nothing(options.user, path)
    if options.json:
        print_json({"user_id": options.user, "answers_erased": n_answers})
    else:
        print(f"erased {count(n_answers, 'answer')}" + (f" of {options.user}" if options.user is not None else ""))
    return 0


def _erase(cache: Cache, user_id: str | None) -> int:
    if user_id is None:
        return cache.clear()
    if not cache.owns(user_id):
        raise _nothing(user_id, cache.path)
    return cache.erase(user_id)


def _nothing(user_id: str, path: Path) -> UnknownUser:
    return UnknownUser(f"user {user_id!r} has no answers in {str(path)!r}; check the id")
