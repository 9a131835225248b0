"""Look at the home folder's cache of model answers, or erase it.

Example: personalrm cache info --home ./personalrm-home
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json
from personalrm.errors import BadInput, UnknownUser
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("info", "clear"), help="info: what it holds; clear: erase it")
    parser.add_argument("-u", "--user", help="clear: erase the answers of this user only")
    parser.add_argument("--yes", action="store_true", help="clear: erase everybody's answers, which cost money again")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.lm.cache import CACHE_FILE, Cache

    if not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; pass the right --home")
    path = Path(options.home) / CACHE_FILE
    if options.action == "clear":
        return _clear(path, options)
    if options.user is not None or options.yes:
        raise BadInput("--user and --yes are for clear; leave them out with info")
    with Cache(path, read_only=True) as cache:
        report = cache.report()
    if options.json:
        print_json({"path": str(path), **asdict(report), "by_model": dict(report.by_model)})
        return 0
    print(f"{path}  {report.n_bytes / 2**20:.1f} MB")
    print(f"  {count(report.n_answers, 'answer')}, {report.n_unscored:,} unscored, of {count(report.n_owners, 'user')}")
    for model, n in report.by_model:
        print(f"  {n:8,}  {model or '(no name)'}")
    return 0


def _clear(path: Path, options: argparse.Namespace) -> int:
    from personalrm.lm.cache import Cache

    if options.user is None and not options.yes:
        raise BadInput("nothing was erased; pass --yes to erase everybody's answers, or -u USER for those of one user")
    unknown = UnknownUser(f"user {options.user!r} has no answers in {str(path)!r}; check the id")
    n_answers = 0
    if path.exists():
        with Cache(path) as cache:
            if options.user is not None and not cache.owns(options.user):
                raise unknown
            n_answers = cache.clear() if options.user is None else cache.erase(options.user)
    elif options.user is not None:
        raise unknown
    if options.json:
        print_json({"user_id": options.user, "answers_erased": n_answers})
    else:
        print(f"erased {count(n_answers, 'answer')}" + (f" of {options.user}" if options.user is not None else ""))
    return 0
