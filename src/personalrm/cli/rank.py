"""Rank several completions as a user would, best first (best of n).

Reads JSON lines with `conversation` (or `prompt`) and `completions`.

Example: personalrm rank candidates.jsonl --user u17
"""

from __future__ import annotations

import argparse

from personalrm.cli.judge import add_row_options, print_results
from personalrm.cli.options import add_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_row_options(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.cli.rows import completions_of, conversation_of
    from personalrm.judging.personal import rank_completions

    def rank(row: dict[str, object], prompt: object) -> dict[str, object]:
        ranking = rank_completions(prompt, conversation_of(row), completions_of(row))  # type: ignore[arg-type]
        return {"best": ranking.best, "order": list(ranking.order), "rewards": list(ranking.rewards)}

    return print_results(options, rank, lambda result: f"best {result['best']}, order {result['order']}")
