"""List the users of the home folder: who is fitted, from how many pairs, in how many versions, and when.

Users are listed by id. One whose newest version cannot be read is marked; the exit code is 3 then.

Example: personalrm users
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_problems, print_table, shown_date
from personalrm.errors import BadInput
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    if not Path(options.home).is_dir():
        raise BadInput(f"home folder {options.home!r} is not there; fit a file first or pass the right --home")
    contents: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    # An id that no version tells is null in --json, and sorted as that word.
    for saved in sorted(Home(options.home).saved(), key=lambda saved: saved.user_id or "None"):
        prompt, newest = saved.newest, saved.versions[-1]
        content = {
            "user_id": saved.user_id or None,
            "folder": saved.folder,
            "pairs": len(prompt.roles) if prompt else None,
            "sentences": len(prompt.persona.claims) if prompt else None,
            "versions": len(saved.versions),
            "first_date": saved.versions[0].date,
            "newest_date": newest.date,
            "engine": prompt.judge if prompt else None,
            "problem": saved.problem,
        }
        contents.append(content)
        rows.append(
            (
                saved.user_id or f"(unreadable, users/{saved.folder})",
                str(len(prompt.roles)) if prompt else "",
                str(len(prompt.persona.claims)) if prompt else "",
                str(len(saved.versions)),
                shown_date(newest.date),
                prompt.judge if prompt else "newest is damaged",
            )
        )
    if options.json:
        print_json(contents)
    elif not rows:
        print(f"no users in {options.home}; personalrm fit FILE makes them")
    else:
        print_table(("user", "pairs", "sentences", "versions", "newest", "engine"), rows, left=(4, 5))
        print(f"{count(len(rows), 'user')} in {options.home}")
    return print_problems(content["problem"] for content in contents if content["problem"])
