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
from personalrm.wording import count

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
            if not ranking.is_scored:
                line = f"unscored: {ranking.lost_reason}"
                answers.append(Answer(line, {"best": None, "unscored_reason": ranking.lost_reason}))
                continue
            content: Row = {"best": ranking.best, "order": list(ranking.order), "rewards": list(ranking.rewards)}
            heading = "best first"
            if ranking.lost_reason:
                lost = {"unscored, counted as ties": ranking.n_unscored, "in one order only": ranking.n_in_one_order}
                told = ", ".join(f"{n} {how}" for how, n in lost.items() if n)
                heading += f"; of {count(ranking.n_comparisons, 'comparison')} {told}: {ranking.lost_reason}"
                content |= {
                    "n_comparisons": ranking.n_comparisons,
                    "n_unscored": ranking.n_unscored,
                    "n_in_one_order": ranking.n_in_one_order,
                    "lost_order": ranking.lost_reason,
                }
            answers.append(
                Answer("\n".join([heading, *ranked_lines(ranking.order, ranking.rewards, item.completions)]), content)
            )
        return answers

    return answer_rows(options, read, rank)
