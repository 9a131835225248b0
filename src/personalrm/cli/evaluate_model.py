"""`evaluate` with a language model: the model alone, and with what was learned of each user."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from personalrm.cli.model_options import open_judge, print_usage, warn_of_change
from personalrm.cli.printing import bold, print_json, print_table, print_wrapped
from personalrm.errors import BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.bench.model_evaluation import ModelEvaluation, ModelRow
    from personalrm.datasets.targets import HeldOut

EMBEDDED_ONLY = ("population_leaves_out", "by_context", "halves", "saved")
MOST_NAMED = 8


def run_with_model(held_out: HeldOut, options: argparse.Namespace, *, n_bad_rows: int) -> int:
    """Evaluate, print, and return the exit code."""
    from personalrm.bench.model_evaluation import MODEL_METHODS, evaluate_model
    from personalrm.induction.settings import InductionSettings

    for name in EMBEDDED_ONLY:
        if getattr(options, name):
            raise BadInput(f"--{name.replace('_', '-')} is for the embedded engine; leave it out with --model")
    methods = [name.strip() for name in options.methods.split(",")] if options.methods else list(MODEL_METHODS)
    settings = InductionSettings(variant="both", n_trials=options.trials, seed=options.seed)
    with open_judge(options) as judge:
        judge.persona_prompt.refuse_targets(held_out.targets)
        evaluation = evaluate_model(held_out, judge, methods=methods, settings=settings, seed=options.seed)
        if options.json:
            print_json(_as_json(evaluation) | {"n_bad_rows": n_bad_rows, "model": judge.name})
        else:
            print_model_evaluation(evaluation, held_out)
            print_usage(judge.caller)
        warn_of_change(judge.caller)
        n_unscored = judge.caller.ledger.total.n_unscored
    return 3 if n_bad_rows or n_unscored or evaluation.failed else 0


def print_model_evaluation(evaluation: ModelEvaluation, held_out: HeldOut) -> None:
    """The table."""
    first = evaluation.rows[0].accuracy
    print(bold("all users") + f": {count(first.n_users, 'user')}, {count(first.n_pairs, 'target pair')}, both orders")
    header = ("method", "accuracy %", "95 % interval", "macro %", "unscored", "orders agree %", "against default")
    print_table(header, [_cells(row) for row in evaluation.rows])
    for names, why in ((held_out.too_few, "too few pairs"), (held_out.without_target, "no target pair")):
        if names:
            listed = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
            print_wrapped(f"left out, {why}: {len(names)} ({listed})", "  ")
    for user_id, reason in list(evaluation.failed.items())[:MOST_NAMED]:
        print_wrapped(f"not learned, judged knowing nothing: {user_id} ({reason})", "  ")


def _cells(row: ModelRow) -> tuple[str, ...]:
    from personalrm.stats.accuracy import percent
    from personalrm.stats.paired import points

    a, c = row.accuracy, row.against_default
    interval = f"[{percent(a.low)}, {percent(a.high)}]" if a.n_users > 1 else ""
    gap = f"{points(c.difference)} [{points(c.low)}, {points(c.high)}]" if c and a.n_users > 1 else ""
    agree = percent(row.position_consistency)
    return (row.method, percent(a.accuracy), interval, percent(a.macro), str(a.n_unscored), agree, gap)


def _as_json(evaluation: ModelEvaluation) -> dict[str, object]:
    return {
        "orders": "both",
        "rows": {row.method: asdict(row) for row in evaluation.rows},
        "not_learned": dict(evaluation.failed),
    }
