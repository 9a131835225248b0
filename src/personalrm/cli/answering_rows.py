"""`judge` and `rank`: every row of a file is answered as its user would, with the prompts in the home folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeVar

from personalrm.cli.model_options import add_model, optional_judge
from personalrm.cli.options import ROWS, add_output, add_skip_bad
from personalrm.cli.printing import print_bad_rows
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.judging.model import ModelJudge
    from personalrm.preferences.personal_prompts import PersonalPrompt

Row = dict[str, Any]
Item = TypeVar("Item")


class Answer(NamedTuple):
    """What is printed about a row."""

    line: str
    """For people."""
    content: Row
    """Under --json; with `unscored_reason` where nothing was scored."""


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Which rows are answered for whom, and by whom."""
    parser.add_argument("file", nargs="?", default="-", help=ROWS)
    parser.add_argument("-u", "--user", help="judge as this user, whatever the rows say")
    add_skip_bad(parser)
    add_model(parser)
    add_output(parser, "home", "database", "json", "config")


def answer_rows(
    options: argparse.Namespace,
    read: Callable[[Row, PersonalPrompt], Item],
    answer: Callable[[Sequence[Item], ModelJudge | None], list[Answer]],
    close: Callable[[Sequence[Row], TextIO], None] | None = None,
) -> int:
    """Read every row, bad ones listed first; nothing is answered while one is bad and not skipped.

    Args:
        options: Of the command.
        read: What is to be answered about one row.
        answer: The answers, all at once.
        close: Prints what all answers come to; onto stderr under --json, where stdout is one object a line.

    Returns:
        The exit code.
    """
    from personalrm.cli.rows import read_rows, user_of
    from personalrm.store.reading import PeopleReader

    people = PeopleReader(options.home, options.database)
    prompts = {options.user: people.load(options.user)} if options.user else {}

    def with_user(row: Row) -> tuple[str, Item]:
        user_id = user_of(row, options.user)
        if user_id not in prompts:
            prompts[user_id] = people.load(user_id)
        return user_id, read(row, prompts[user_id])

    rows, bad = read_rows(options.file, with_user)
    if print_bad_rows(bad, is_skipping=options.skip_bad, undone="nothing was judged"):
        return 2
    with optional_judge(options) as judge:
        answers = answer([item for _, (_, item) in rows], judge)
    for (number, (user_id, _)), (line, content) in zip(rows, answers, strict=True):
        if options.json:
            print(json.dumps({"line": number, "user_id": user_id, **content}, ensure_ascii=False))
        else:
            print(f"{number}  {user_id}  {line}")
    contents = [content for _, content in answers]
    if close:
        close(contents, sys.stderr if options.json else sys.stdout)
    if bad:
        print(f"{count(len(bad), 'bad row')} left out", file=sys.stderr)
    is_partly = any(content.keys() & {"unscored_reason", "lost_order"} for content in contents)
    return 3 if bad or is_partly else 0
