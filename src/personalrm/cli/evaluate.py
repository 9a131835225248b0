"""Hold out target pairs, fit on the rest, and report accuracy beside the controls.

Example: personalrm evaluate prefs.jsonl --methods population,personal,shuffled_user
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import counts, non_negative, positive
from personalrm.cli.model_options import add_model, optional_judge, print_usage
from personalrm.cli.options import add_output, add_reading, read_options
from personalrm.cli.printing import bold, print_json, print_problems, print_table, print_wrapped
from personalrm.errors import BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.bench.runs.evaluation import ContextCurve, Evaluation
    from personalrm.judging.model import ModelJudge
    from personalrm.stats.accuracy import Accuracy

EMBEDDED_ONLY = ("population_leaves_out", "by_context", "halves", "saved")
MOST_NAMED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="preference pairs: .jsonl, .csv, .tsv, .parquet, also .gz")
    parser.add_argument(
        "--methods",
        help="rows of the table, separated by commas: any of the benchmark that needs no base model, such as two_level "
        "or memory, or your own as package.module:Class (default: those of the embedded engine, or of the model)",
    )
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
    parser.add_argument(
        "--seed", type=non_negative, default=0, help="seed of trials, shuffles and drawn choices (default: %(default)s)"
    )
    add_reading(parser)
    add_model(parser)
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.runs.evaluation import evaluate
    from personalrm.datasets.targets import hold_out
    from personalrm.preferences.reading.files import read_pairs

    users = read_pairs(options.file, read_options(options))
    held_out = hold_out(users.values(), min_pairs=options.min_pairs)
    for name in EMBEDDED_ONLY if options.model is not None else ():
        if getattr(options, name):
            raise BadInput(f"--{name.replace('_', '-')} is for the embedded engine; leave it out with --model")
    with optional_judge(options) as judge:
        if judge is not None:
            judge.persona_prompt.refuse_targets(held_out.targets)
        evaluation = evaluate(
            held_out,
            judge=judge,
            methods=[name.strip() for name in options.methods.split(",")] if options.methods else None,
            leave_out=options.population_leaves_out,
            trials=options.trials,
            seed=options.seed,
            by_context=options.by_context or (),
        )
        if judge is not None:
            return _tell_model(evaluation, judge, options, users.tally.n_bad_rows)
    return _tell_engine(evaluation, options, users.tally.n_bad_rows)


def _tell_model(evaluation: Evaluation, judge: ModelJudge, options: argparse.Namespace, n_bad_rows: int) -> int:
    """Print what a language model did; returns the exit code."""
    not_learned = evaluation.not_learned
    if options.json:
        content = {"orders": "both", "rows": _rows_as_json(evaluation), "not_learned": dict(not_learned)}
        print_json(content | {"n_bad_rows": n_bad_rows, "model": judge.name})
    else:
        _print_table(evaluation, "all users")
        _print_left_out(evaluation)
        for user_id, reason in list(not_learned.items())[:MOST_NAMED]:
            print_wrapped(f"not learned, judged knowing nothing: {user_id} ({reason})", "  ")
        for note in evaluation.notes:
            print_wrapped(f"note: {note}")
        print_usage(judge.caller)
    return 3 if n_bad_rows or judge.caller.ledger.total.n_unscored or not_learned else 0


def _tell_engine(evaluation: Evaluation, options: argparse.Namespace, n_bad_rows: int) -> int:
    """Print what the embedded engine did; returns the exit code."""
    from personalrm.bench.runs.evaluation import half_of, in_development_half, score_prompts
    from personalrm.stats.accuracy import mean_correctness
    from personalrm.store.reading import PeopleReader

    parts, curve, notes = {"all users": evaluation}, evaluation.curve, list(evaluation.notes)
    if options.halves:
        for title, is_development in (("development half", True), ("test half", False)):
            context = evaluation.held_out.context
            user_ids = {user_id for user_id in context if in_development_half(user_id) is is_development}
            if user_ids:
                parts[title] = half_of(evaluation, user_ids.__contains__)
            else:
                notes.append(f"no user is in the {title}")
    saved: Accuracy | None = None
    unreadable: tuple[str, ...] = ()
    if options.saved:
        scored = score_prompts(evaluation.held_out, PeopleReader(options.home, options.database).load)
        saved = mean_correctness(scored.correct, scored.user_ids) if scored.user_ids else None
        unreadable = scored.unreadable
    if options.json:
        content = {
            "orders": "both",
            "left_out_too_few": list(evaluation.held_out.too_few),
            "left_out_no_target": list(evaluation.held_out.without_target),
            "tables": {
                title: {
                    "n_users": part.rows[0].accuracy.n_users,
                    "n_target_pairs": part.rows[0].accuracy.n_pairs,
                    "rows": _rows_as_json(part),
                }
                for title, part in parts.items()
            },
            "by_context": [asdict(point) for point in curve.points],
            "by_context_slopes": {name: asdict(slope) for name, slope in curve.slopes.items()},
            "n_bad_rows": n_bad_rows,
            "notes": notes,
            "saved_prompts": asdict(saved) if saved is not None else None,
            "saved_prompts_left_out": list(unreadable),
        }
        print_json(content)
    else:
        for title, part in parts.items():
            _print_table(part, title)
            if part is evaluation:
                _print_left_out(evaluation)
        if saved is not None:
            print(f"\nsaved prompts  {saved.line()}")
        if curve.points:
            _print_curve(curve)
        for note in notes:
            print_wrapped(f"note: {note}")
    print_problems(f"left out of the saved prompts, {sentence}" for sentence in unreadable)
    return 3 if n_bad_rows or unreadable else 0


def _print_table(evaluation: Evaluation, title: str) -> None:
    """The rows of one part of the users; those of a language model say how its two orders agree."""
    from personalrm.stats.accuracy import percent
    from personalrm.stats.paired import points

    first, with_model = evaluation.rows[0].accuracy, evaluation.reference == "default"
    heading, unscored = (title, "") if with_model else (f"\n{title}", f", {first.n_unscored} unscored")
    counts = f"{count(first.n_users, 'user')}, {count(first.n_pairs, 'target pair')}"
    print(bold(heading) + f": {counts}, both orders{unscored}")
    orders = ("unscored", "orders agree %") if with_model else ()
    header = ("method", "accuracy %", "95 % interval", "macro %", *orders, f"against {evaluation.reference}")
    rows = []
    for row in evaluation.rows:
        a, c = row.accuracy, row.against_reference
        interval = f"[{percent(a.low)}, {percent(a.high)}]" if a.n_users > 1 else ""
        gap = f"{points(c.difference)} [{points(c.low)}, {points(c.high)}]" if c and a.n_users > 1 else ""
        agree = percent(row.position_consistency) if row.position_consistency == row.position_consistency else ""
        orders = (str(a.n_unscored), agree) if with_model else ()
        rows.append((row.method, percent(a.accuracy), interval, percent(a.macro), *orders, gap))
    print_table(header, rows)


def _print_left_out(evaluation: Evaluation) -> None:
    held_out = evaluation.held_out
    for names, why in ((held_out.too_few, "too few pairs"), (held_out.without_target, "no target pair")):
        if names:
            listed = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
            print_wrapped(f"left out, {why}: {count(len(names), 'user')} ({listed})", "  ")


def _print_curve(curve: ContextCurve) -> None:
    """Accuracy by number of choices, and how many points of accuracy one more choice is worth."""
    from personalrm.stats.accuracy import percent

    rows = []
    for point in curve.points:
        a, n_users = point.personal, point.personal.n_users
        interval = f"[{percent(a.macro_low)}, {percent(a.macro_high)}]" if n_users > 1 else ""
        rows.append((str(point.n_choices), str(n_users), percent(point.population.macro), percent(a.macro), interval))
    print(bold("\naccuracy by number of context choices") + " (macro; users with at least that many)")
    print_table(("choices", "users", "population", "personal", "95 % interval"), rows)
    for name, slope in curve.slopes.items():
        ends = f"[{100 * slope.low:+.3f}, {100 * slope.high:+.3f}]"
        what = "the gain" if name == "gain" else name
        print(f"  slope of {what}, over pairs: {100 * slope.slope:+.3f} {ends} points a choice")


def _rows_as_json(evaluation: Evaluation) -> dict[str, Any]:
    rows = {}
    for row in evaluation.rows:
        content = asdict(row)
        against = content.pop("against_reference")
        for key in ("position_consistency", "accuracy_orders"):
            if evaluation.reference != "default":  # the embedded engine gives margins, which need no order
                del content[key]
            elif content[key] != content[key]:  # nor do the margins of a method of another package; JSON has no NaN
                content[key] = None
        rows[row.method] = content | {f"against_{evaluation.reference}": against}
    return rows
