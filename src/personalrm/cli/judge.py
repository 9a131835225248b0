"""Judge pairs of completions as their users would, with the prompts in the home folder.

Reads rows with `user_id`, `conversation` (or `prompt`), `first` and `second`. Rows
with `chosen` and `rejected` instead are judged in both orders and counted right or wrong,
with a total at the end and a warning when the prompts were made from some of them.

Example: personalrm judge new.jsonl --user u17
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from personalrm.cli.model_options import add_model
from personalrm.cli.options import ROWS, add_config, add_home, add_json, add_skip_bad
from personalrm.cli.printing import print_bad_rows
from personalrm.errors import BadFile, BadInput, BadRow
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.judging.guard import Policy
    from personalrm.judging.model import ModelJudge
    from personalrm.judging.personal import ToJudge
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.verdicts import Verdict

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_row_options(parser)
    parser.add_argument(
        "--policy", metavar="FILE", help="rules (name: regular expression) that veto a verdict whatever the user likes"
    )
    add_config(parser)


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that read rows to be judged."""
    parser.add_argument("file", nargs="?", default="-", help=ROWS)
    parser.add_argument("-u", "--user", help="judge as this user, whatever the rows say")
    add_skip_bad(parser)
    add_home(parser)
    add_model(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    policy = _policy(options.policy) if options.policy is not None else None
    return print_results(options, _read, lambda items, judge: _judge(items, judge, policy), _line, _print_total)


def _policy(path: str) -> Policy:
    """The rules of a YAML or JSON file.

    Raises:
        BadFile: If there are none in it.
        BadInput: If one is no regular expression.
    """
    import yaml

    from personalrm.judging.guard import RulePolicy

    try:
        rules = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadFile(f"policy {path!r} cannot be read ({type(error).__name__}); check the path and the YAML") from None
    if not isinstance(rules, dict) or not rules or not all(isinstance(one, str) and one for one in rules.values()):
        raise BadFile(f"policy {path!r} holds no rules; write lines such as `poison: mix bleach`")
    return RulePolicy({str(name): rule for name, rule in rules.items()})


def _read(row: Row, prompt: PersonalPrompt) -> tuple[ToJudge, PreferencePair | None]:
    """What is to be judged, and the pair it is where the row tells the choice."""
    from personalrm.cli.rows import conversation_of, pair_of
    from personalrm.judging.personal import ToJudge
    from personalrm.preferences.reading.fields import read_text

    if row.get("chosen") is not None and row.get("first") is None:
        pair = pair_of(row, prompt.user_id)
        return ToJudge(prompt, pair.conversation, pair.chosen, pair.rejected), pair
    first, second = (read_text(row.get(name), name) for name in ("first", "second"))
    return ToJudge(prompt, conversation_of(row), first, second), None


def _judge(
    items: Sequence[tuple[ToJudge, PreferencePair | None]], judge: ModelJudge | None, policy: Policy | None
) -> list[Row]:
    from personalrm.judging.guard import guard_verdicts
    from personalrm.judging.personal import judge_pairs

    verdicts = judge_pairs([one for one, _ in items], judge)
    if policy is not None:
        verdicts = guard_verdicts(policy, [one for one, _ in items], verdicts)
    return [_result(verdict, one, pair) for verdict, (one, pair) in zip(verdicts, items, strict=True)]


def _result(verdict: Verdict, one: ToJudge, pair: PreferencePair | None) -> Row:
    result: Row = {
        "choice": verdict.choice,
        "probability": verdict.probability,
        "reasoning": verdict.reasoning,
        "too_few_pairs": verdict.too_few_pairs,
    }
    if not verdict.is_scored:
        result["unscored_reason"] = verdict.unscored_reason
    elif pair is not None:
        result["correct"] = {"first": 1.0, "second": 0.0, None: 0.5}[verdict.choice]
    if pair is not None:
        result["seen"] = pair.hash in one.prompt.roles
    return result


def _line(result: Row) -> str:
    if "unscored_reason" in result:
        return f"unscored: {result['unscored_reason']}"
    choice = result["choice"] or "tie"
    flag = "; too few pairs, most people's taste decides" if result["too_few_pairs"] else ""
    right = {1.0: ", right", 0.0: ", wrong", 0.5: ", a tie"}.get(result.get("correct", -1.0), "")
    return f"{choice} (P(first) = {result['probability']:.2f}{right}{flag}): {result['reasoning']}"


def _print_total(results: Sequence[Row], total_to: TextIO) -> None:
    """How many known choices came out right, and whether that says anything."""
    known = [result for result in results if "correct" in result]
    if n_unscored := sum("unscored_reason" in result for result in results):
        print(f"{n_unscored} unscored of {count(len(results), 'row')}", file=total_to)
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


Item = TypeVar("Item")


def print_results(
    options: argparse.Namespace,
    read: Callable[[Row, PersonalPrompt], Item],
    answer: Callable[[Sequence[Item], ModelJudge | None], list[Row]],
    line: Callable[[Row], str],
    close: Callable[[Sequence[Row], TextIO], None] | None = None,
) -> int:
    """Read every row, bad ones listed first; nothing is answered while one is bad and not skipped.

    Args:
        options: Of the command.
        read: What is to be answered about one row.
        answer: The answers, all at once.
        line: The answer in one line, for people.
        close: Prints what all answers come to; onto stderr under --json, where stdout is one object a line.
    """
    import json

    from personalrm.cli.model_options import optional_judge

    items, bad = _read_all(options, read)
    if print_bad_rows(bad, is_skipping=options.skip_bad, undone="nothing was judged"):
        return 2
    with optional_judge(options) as judge:
        results = answer([item for _, _, item in items], judge)
    for (number, user_id, _), result in zip(items, results, strict=True):
        if options.json:
            print(json.dumps({"line": number, "user_id": user_id, **result}, ensure_ascii=False))
        else:
            print(f"{number}  {user_id}  {line(result)}")
    if close:
        close(results, sys.stderr if options.json else sys.stdout)
    if bad:
        print(f"{count(len(bad), 'bad row')} left out", file=sys.stderr)
    return 3 if bad or any("unscored_reason" in result for result in results) else 0


def _read_all(
    options: argparse.Namespace, read: Callable[[Row, PersonalPrompt], Item]
) -> tuple[list[tuple[int, str, Item]], list[str]]:
    from personalrm.cli.rows import rows_of, user_of
    from personalrm.store.home import Home

    home = Home(options.home)
    prompts = {options.user: home.load(options.user)} if options.user else {}
    items: list[tuple[int, str, Item]] = []
    bad: list[str] = []
    for number, row in rows_of(options.file):
        try:
            if isinstance(row, BadRow):
                raise row
            user_id = user_of(row, options.user)
            if user_id not in prompts:
                prompts[user_id] = home.load(user_id)
            items.append((number, user_id, read(row, prompts[user_id])))
        except BadInput as error:
            bad.append(f"{options.file} line {number}: {error}")
    return items, bad
