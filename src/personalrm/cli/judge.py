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
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from personalrm.cli.answering_rows import Answer, Row, add_row_options, answer_rows
from personalrm.errors import BadFile
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.judging.model import ModelJudge
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.personal_prompts import PersonalPrompt

OUTCOMES = {"first": (1.0, ", right"), "second": (0.0, ", wrong"), None: (0.5, ", a tie")}
"""By the choice about a pair whose first completion is the one that was chosen: correctness, and how it is told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_row_options(parser)
    parser.add_argument(
        "--policy", metavar="FILE", help="rules (name: regular expression) that veto a verdict whatever the user likes"
    )


def run(options: argparse.Namespace) -> int:
    from personalrm.cli.rows import conversation_of, pair_of
    from personalrm.judging.guard import RulePolicy, guard_verdicts
    from personalrm.judging.personal import ToJudge, judge_pairs
    from personalrm.preferences.reading.fields import read_text

    policy = None if options.policy is None else RulePolicy(_rules(options.policy))

    def read(row: Row, prompt: PersonalPrompt) -> tuple[ToJudge, PreferencePair | None]:
        """What is to be judged, and the pair it is where the row tells the choice."""
        if row.get("chosen") is not None and row.get("first") is None:
            pair = pair_of(row, prompt.user_id)
            return ToJudge(prompt, pair.conversation, pair.chosen, pair.rejected), pair
        first, second = (read_text(row.get(name), name) for name in ("first", "second"))
        return ToJudge(prompt, conversation_of(row), first, second), None

    def judge_all(items: Sequence[tuple[ToJudge, PreferencePair | None]], judge: ModelJudge | None) -> list[Answer]:
        questions = [question for question, _ in items]
        verdicts = judge_pairs(questions, judge)
        if policy is not None:
            verdicts = guard_verdicts(policy, questions, verdicts)
        answers = []
        for verdict, (question, pair) in zip(verdicts, items, strict=True):
            content: Row = {
                "choice": verdict.choice,
                "probability": verdict.probability,
                "reasoning": verdict.reasoning,
                "too_few_pairs": verdict.too_few_pairs,
            }
            if verdict.lost_order:
                content["lost_order"] = verdict.lost_order
            outcome = ""
            if not verdict.is_scored:
                content["unscored_reason"] = verdict.unscored_reason
            elif pair is not None:
                content["correct"], outcome = OUTCOMES[verdict.choice]
            if pair is not None:
                content["seen"] = pair.hash in question.prompt.roles
            if not verdict.is_scored:
                line = f"unscored: {verdict.unscored_reason}"
            else:
                flag = "; too few pairs, most people's taste decides" if verdict.too_few_pairs else ""
                flag += (
                    f"; in one order only, the other is unscored: {verdict.lost_order}" if verdict.lost_order else ""
                )
                chance = f"P(first) = {verdict.probability:.2f}{outcome}{flag}"
                line = f"{verdict.choice or 'tie'} ({chance}): {verdict.reasoning}"
            answers.append(Answer(line, content))
        return answers

    return answer_rows(options, read, judge_all, _print_total)


def _rules(path: str) -> dict[str, str]:
    """The rules of a policy file by name.

    Raises:
        BadFile: If it cannot be read, holds none, or two of one name.
    """
    from personalrm.typed_values import read_yaml

    rules = read_yaml(path, "policy")
    if not (isinstance(rules, dict) and rules and all(isinstance(rule, str) and rule for rule in rules.values())):
        raise BadFile(f"policy {path!r} holds no rules; write lines such as `poison: mix bleach`")
    names = [str(name) for name in rules]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:  # such as 1 and "1"
        raise BadFile(f"policy {path!r} has two rules {twice!r}; rename one")
    return dict(zip(names, rules.values(), strict=True))


def _print_total(results: Sequence[Row], total_to: TextIO) -> None:
    """How many known choices came out right, and whether that says anything."""
    known = [result for result in results if "correct" in result]
    if n_unscored := sum("unscored_reason" in result for result in results):
        print(f"{n_unscored} unscored of {count(len(results), 'row')}", file=total_to)
    if n_lost := sum("lost_order" in result for result in results):
        print(f"{n_lost} of {count(len(results), 'row')} judged in one order only", file=total_to)
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
