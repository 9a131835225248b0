"""List the users of the home folder: who is fitted, from how many pairs, in how many versions, and when.

Users are listed by id. One whose newest version cannot be read is marked; the exit code is 3 then.

Example: personalrm users
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_error, print_json, print_table, shown_date
from personalrm.errors import BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.store.home import Saved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    if not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; fit a file first or pass the right --home")
    rows = sorted(map(_row, Home(options.home).saved()), key=lambda row: str(row["user_id"]))
    if options.json:
        print_json(rows)
    elif not rows:
        print(f"no users in {options.home}; personalrm fit FILE makes them")
    else:
        header = ("user", "pairs", "sentences", "versions", "newest", "engine")
        print_table(header, [_cells(row) for row in rows], left=(4, 5))
        print(f"{count(len(rows), 'user')} in {options.home}")
    problems = [row["problem"] for row in rows if row["problem"]]
    for problem in problems:
        print_error(problem, 3)
    return 3 if problems else 0


def _row(saved: Saved) -> dict[str, Any]:
    prompt = saved.newest
    return {
        "user_id": saved.user_id or None,
        "folder": saved.folder,
        "pairs": len(prompt.roles) if prompt else None,
        "sentences": len(prompt.persona.claims) if prompt else None,
        "versions": len(saved.versions),
        "first_date": saved.versions[0].date,
        "newest_date": saved.versions[-1].date,
        "engine": prompt.judge if prompt else None,
        "problem": saved.problem,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    name = row["user_id"] or f"(unreadable, users/{row['folder']})"
    known = (str(row["pairs"]), str(row["sentences"])) if row["engine"] else ("", "")
    return (name, *known, str(row["versions"]), shown_date(row["newest_date"]), row["engine"] or "newest is damaged")
