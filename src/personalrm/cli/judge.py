"""Judge pairs of completions as their users would, with the prompts in the home folder.

Reads JSON lines with `user_id`, `conversation` (or `prompt`), `first` and `second`. Rows
with `chosen` and `rejected` instead are judged in both orders and counted right or wrong,
with a total at the end and a warning when the prompts were made from some of them.

Example: personalrm judge new.jsonl --user u17
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from personalrm.cli.options import add_config, add_home, add_json
from personalrm.cli.printing import print_error
from personalrm.errors import BadInput, BadRow

if TYPE_CHECKING:
    from personalrm.preferences.personal_prompts import PersonalPrompt

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_row_options(parser)
    add_config(parser)


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that read rows to be judged."""
    parser.add_argument("file", nargs="?", default="-", help="JSONL file, or - for standard input (the default)")
    parser.add_argument("-u", "--user", help="judge as this user, whatever the rows say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out, count them, exit with 3")
    add_home(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    return print_results(options, _judge, _line, _print_total)


def _judge(row: Row, prompt: PersonalPrompt) -> Row:
    from personalrm.cli.rows import conversation_of, pair_of
    from personalrm.judging.personal import judge_pair
    from personalrm.preferences.fields import read_text

    is_known = row.get("chosen") is not None and row.get("first") is None
    if is_known:
        pair = pair_of(row, prompt.user_id)
        conversation, first, second = pair.conversation, pair.chosen, pair.rejected
    else:
        conversation = conversation_of(row)
        first, second = (read_text(row.get(name), name) for name in ("first", "second"))
    verdict = judge_pair(prompt, conversation, first, second)
    result: Row = {
        "choice": verdict.choice,
        "probability": verdict.probability,
        "reasoning": verdict.reasoning,
        "too_few_pairs": verdict.too_few_pairs,
    }
    if is_known:
        result["correct"] = {"first": 1.0, "second": 0.0, None: 0.5}[verdict.choice]
        result["seen"] = pair.hash in prompt.roles
    return result


def _line(result: Row) -> str:
    choice = result["choice"] or "tie"
    flag = "; too few pairs, most people's taste decides" if result["too_few_pairs"] else ""
    right = {1.0: ", right", 0.0: ", wrong", 0.5: ", a tie"}.get(result.get("correct", -1.0), "")
    return f"{choice} (P(first) = {result['probability']:.2f}{right}{flag}): {result['reasoning']}"


def _print_total(results: Sequence[Row], total_to: TextIO) -> None:
    """How many known choices came out right, and whether that says anything."""
    from personalrm.stats.accuracy import count

    known = [result for result in results if "correct" in result]
    if not known:
        return
    n = Counter(result["correct"] for result in known)
    print(f"{n[1.0]} right, {n[0.0]} wrong, {count(n[0.5], 'tie')} of {len(known)}", file=total_to)
    n_seen = sum(result["seen"] for result in known)
    if n_seen:
        print(
            f"warning: the prompts were made from {n_seen} of these {count(len(known), 'choice')}, so the total says "
            "little; judge choices they have not seen, or use personalrm evaluate",
            file=sys.stderr,
        )


def print_results(
    options: argparse.Namespace,
    answer: Callable[[Row, PersonalPrompt], Row],
    line: Callable[[Row], str],
    close: Callable[[Sequence[Row], TextIO], None] | None = None,
) -> int:
    """Answer every row, bad rows listed first; nothing is answered while one is bad and not skipped.

    Args:
        options: Of the command.
        answer: What is said about one row.
        line: The answer in one line, for people.
        close: Prints what all answers come to; onto stderr under --json, where stdout is one object a line.
    """
    import json

    from personalrm.stats.accuracy import count

    answered, bad = _answer_all(options, answer)
    for error in bad:
        print_error(error, 2)
    if bad and not options.skip_bad:
        print_error(f"{count(len(bad), 'bad row')}, nothing was judged; fix them or pass --skip-bad", 2)
        return 2
    for number, user_id, result in answered:
        if options.json:
            print(json.dumps({"line": number, "user_id": user_id, **result}, ensure_ascii=False))
        else:
            print(f"{number}  {user_id}  {line(result)}")
    if close:
        close([result for _, _, result in answered], sys.stderr if options.json else sys.stdout)
    if bad:
        print(f"{count(len(bad), 'bad row')} left out", file=sys.stderr)
    return 3 if bad else 0


def _answer_all(
    options: argparse.Namespace, answer: Callable[[Row, PersonalPrompt], Row]
) -> tuple[list[tuple[int, str, Row]], list[str]]:
    from personalrm.cli.rows import rows_of, user_of
    from personalrm.store.home import Home

    home = Home(options.home)
    prompts = {options.user: home.load(options.user)} if options.user else {}
    answered: list[tuple[int, str, Row]] = []
    bad: list[str] = []
    for number, row in rows_of(options.file):
        try:
            if isinstance(row, BadRow):
                raise row
            user_id = user_of(row, options.user)
            if user_id not in prompts:
                prompts[user_id] = home.load(user_id)
            answered.append((number, user_id, answer(row, prompts[user_id])))
        except BadInput as error:
            bad.append(f"{options.file} line {number}: {error}")
    return answered, bad
