"""Rank several completions as a user would, best first (best of n).

Reads rows with `conversation` (or `prompt`) and `completions`. The text lists them best first
with their number in the row, from 1; `best` and `order` of --json count from 0.

Example: personalrm rank candidates.jsonl --user u17
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from personalrm.cli.answering_rows import Answer, Row, add_row_options, answer_rows
from personalrm.cli.printing import ranked_lines

if TYPE_CHECKING:
    from personalrm.judging.both_orders import ToRank
    from personalrm.judging.model import ModelJudge
    from personalrm.preferences.personal_prompts import PersonalPrompt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tournament",
        choices=("round_robin", "knockout"),
        default="round_robin",
        help="how a model compares: all with all, or n - 1 comparisons (default: %(default)s)",
    )
    add_row_options(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.cli.rows import completions_of, conversation_of
    from personalrm.judging.both_orders import ToRank, rank_with_judge
    from personalrm.judging.personal import rank_completions

    def read(row: Row, prompt: PersonalPrompt) -> ToRank:
        return ToRank(prompt, conversation_of(row), tuple(completions_of(row)))

    def rank(items: Sequence[ToRank], judge: ModelJudge | None) -> list[Answer]:
        if judge is not None:
            rankings = rank_with_judge(judge, items, options.tournament)
        else:
            rankings = [rank_completions(item.prompt, item.conversation, item.completions) for item in items]
        answers = []
        for item, ranking in zip(items, rankings, strict=True):
            line = "\n".join(["best first", *ranked_lines(ranking.order, ranking.rewards, item.completions)])
            content = {"best": ranking.best, "order": list(ranking.order), "rewards": list(ranking.rewards)}
            answers.append(Answer(line, content))
        return answers

    return answer_rows(options, read, rank)
