"""Hold out target pairs, fit on the rest, and report accuracy beside the controls.

Example: personalrm evaluate prefs.jsonl --methods population,personal,shuffled_user
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from personalrm.cli.evaluate_model import run_with_model
from personalrm.cli.flags import counts, non_negative, positive
from personalrm.cli.model_options import add_model, refuse_model_flags_alone
from personalrm.cli.options import add_config, add_home, add_json, add_reading
from personalrm.cli.printing import bold, print_error, print_json, print_table, print_wrapped
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.bench.by_context import Curve
    from personalrm.bench.results.evaluation import Evaluation
    from personalrm.datasets.targets import HeldOut
    from personalrm.stats.accuracy import Accuracy

MOST_NAMED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="preference pairs: .jsonl, .csv, .tsv, .parquet, also .gz")
    parser.add_argument("--methods", help="rows of the table, separated by commas (default: all)")
    parser.add_argument(
        "--population-leaves-out",
        metavar="COLUMN",
        help="leave rows that share the target's value of this column out of its population",
    )
    parser.add_argument("--by-context", type=counts, metavar="K,K,...", help="accuracy with K context choices a user")
    parser.add_argument(
        "--halves", action="store_true", help="also print the development and the test half of the users"
    )
    parser.add_argument("--saved", action="store_true", help="also score the prompts saved in the home folder")
    parser.add_argument(
        "--min-pairs", type=positive, default=5, help="users with fewer are left out (default: %(default)s)"
    )
    parser.add_argument(
        "--trials", type=positive, default=10, metavar="T", help="trials a search (default: %(default)s)"
    )
    parser.add_argument("--seed", type=non_negative, default=0, help="seed of every draw (default: %(default)s)")
    add_home(parser)
    add_reading(parser)
    add_model(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.results.evaluation import METHODS, evaluate
    from personalrm.cli.options import read_options
    from personalrm.datasets.targets import hold_out
    from personalrm.induction.settings import InductionSettings
    from personalrm.preferences.reading.files import read_pairs

    users = read_pairs(options.file, read_options(options))
    held_out = hold_out(users.values(), min_pairs=options.min_pairs)
    if options.model is not None:
        return run_with_model(held_out, options, n_bad_rows=users.tally.n_bad_rows)
    refuse_model_flags_alone(options)
    methods = tuple(name.strip() for name in options.methods.split(",")) if options.methods else tuple(METHODS)
    settings = InductionSettings(n_trials=options.trials, seed=options.seed)
    evaluation = evaluate(
        held_out, methods=methods, leave_out=options.population_leaves_out, seed=options.seed, settings=settings
    )
    halves = _halves(evaluation) if options.halves else {}
    parts = [("all users", evaluation), *((title, half) for title, half in halves.items() if half)]
    notes = [*evaluation.notes, *(f"no user is in the {title}" for title, half in halves.items() if not half)]
    curve = _curve(held_out, options)
    saved, unreadable = _saved(held_out, options)
    if options.json:
        counted = {"n_bad_rows": users.tally.n_bad_rows, "notes": notes}
        print_json(_as_json(parts, curve) | counted | _saved_as_json(saved, unreadable))
    else:
        _print(parts, curve, saved)
        for note in notes:
            print_wrapped(f"note: {note}")
    for sentence in unreadable:
        print_error(f"left out of the saved prompts, {sentence}", 3)
    return 3 if users.tally.n_bad_rows or unreadable else 0


def _halves(evaluation: Evaluation) -> dict[str, Evaluation | None]:
    """The two halves of the users by title; None for a half without a user."""
    from personalrm.bench.results.evaluation import half_of, in_development_half

    in_first = {user_id: in_development_half(user_id) for user_id in evaluation.user_ids}
    return {
        "development half": half_of(evaluation, in_first.__getitem__) if any(in_first.values()) else None,
        "test half": half_of(evaluation, lambda user_id: not in_first[user_id]) if not all(in_first.values()) else None,
    }


def _curve(held_out: HeldOut, options: argparse.Namespace) -> Curve | None:
    from personalrm.bench.by_context import accuracy_by_context

    return accuracy_by_context(held_out, options.by_context, seed=options.seed) if options.by_context else None


def _saved(held_out: HeldOut, options: argparse.Namespace) -> tuple[Accuracy | None, tuple[str, ...]]:
    """Accuracy of the saved prompts, None when there are none to score, and a sentence for each that was left out."""
    if not options.saved:
        return None, ()
    from personalrm.bench.results.evaluation import score_prompts
    from personalrm.stats.accuracy import mean_correctness
    from personalrm.store.home import Home

    saved = score_prompts(held_out, Home(options.home).load)
    if not saved.user_ids:
        return None, saved.unreadable
    return mean_correctness(saved.correct, saved.user_ids, seed=options.seed), saved.unreadable


def _print(parts: list[tuple[str, Evaluation]], curve: Curve | None, saved: Accuracy | None) -> None:
    for title, evaluation in parts:
        print_evaluation(evaluation, title)
    if saved is not None:
        print(f"\nsaved prompts  {saved.line()}")
    if curve:
        print(bold("\naccuracy by number of context choices") + " (macro; users with at least that many)")
        header = ("choices", "users", "population", "personal", "95 % interval")
        print_table(header, [point.cells() for point in curve.points])
        _print_slopes(curve)


def _print_slopes(curve: Curve) -> None:
    """How many points of accuracy one more choice is worth."""
    for what, slope in (("personal", curve.personal), ("population", curve.population), ("the gain", curve.gain)):
        if slope is not None:
            ends = f"[{100 * slope.low:+.3f}, {100 * slope.high:+.3f}]"
            print(f"  slope of {what}: {100 * slope.slope:+.3f} {ends} points a choice")


def print_evaluation(evaluation: Evaluation, title: str) -> None:
    """The table of one part of the users."""
    from personalrm.stats.accuracy import percent
    from personalrm.stats.paired import points

    first = evaluation.rows[0].accuracy
    n_users = first.n_users
    print(
        bold(f"\n{title}")
        + f": {count(n_users, 'user')}, {count(first.n_pairs, 'target pair')}, both orders, {first.n_unscored} unscored"
    )
    rows = []
    for row in evaluation.rows:
        a, c = row.accuracy, row.against_population
        gap = f"{points(c.difference)} [{points(c.low)}, {points(c.high)}]" if c and n_users > 1 else ""
        interval = f"[{percent(a.low)}, {percent(a.high)}]" if n_users > 1 else ""
        rows.append((row.method, percent(a.accuracy), interval, percent(a.macro), gap))
    print_table(("method", "accuracy %", "95 % interval", "macro %", "against population"), rows)
    for names, why in ((evaluation.too_few, "too few pairs"), (evaluation.without_target, "no target pair")):
        if names and title == "all users":
            listed = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
            print_wrapped(f"left out, {why}: {count(len(names), 'user')} ({listed})", "  ")


def _saved_as_json(saved: Accuracy | None, unreadable: tuple[str, ...]) -> dict[str, Any]:
    from dataclasses import asdict

    return {"saved_prompts": asdict(saved) if saved is not None else None, "saved_prompts_left_out": list(unreadable)}


def _as_json(parts: list[tuple[str, Evaluation]], curve: Curve | None) -> dict[str, Any]:
    from dataclasses import asdict

    tables = {
        title: {
            "n_users": evaluation.rows[0].accuracy.n_users,
            "n_target_pairs": len(evaluation.user_ids),
            "rows": {row.method: asdict(row) for row in evaluation.rows},
        }
        for title, evaluation in parts
    }
    return {
        "orders": "both",
        "left_out_too_few": list(parts[0][1].too_few),
        "left_out_no_target": list(parts[0][1].without_target),
        "tables": tables,
        "by_context": [asdict(point) for point in curve.points] if curve else [],
        "by_context_slopes": {
            name: asdict(slope)
            for name in ("personal", "population", "gain")
            if (slope := getattr(curve, name, None)) is not None
        },
    }
