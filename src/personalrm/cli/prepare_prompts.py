"""Write the personal prompts that a Bradley-Terry reward model is trained with, as JSON lines.

Users with enough choices get a prompt from all their context pairs. With --cross-fitted
they get one more for each conversation, made without it: training on a conversation with
a persona that was written from it lets the label into the prompt.

Example: personalrm prepare-prompts prefs.jsonl --out prompts.jsonl --cross-fitted
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from personalrm.cli.flags import positive
from personalrm.cli.model_options import add_model, optional_judge, print_usage
from personalrm.cli.options import (
    add_induction,
    add_output,
    add_reading,
    add_schedule,
    induction_settings,
    read_options,
)
from personalrm.cli.printing import Progress, print_counts, print_json, print_problems
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="preference pairs: .jsonl, .csv, .tsv, .parquet, also .gz")
    parser.add_argument("--out", default="prompts.jsonl", metavar="FILE", help="where to (default: %(default)s)")
    parser.add_argument(
        "--min-pairs", type=positive, default=5, metavar="N", help="fewest choices of a user (default: %(default)s)"
    )
    parser.add_argument("--cross-fitted", action="store_true", help="also a prompt without each conversation")
    parser.add_argument("--hold-out", action="store_true", help="leave each user's targets out by the split rule")
    add_schedule(parser)
    add_reading(parser)
    add_induction(parser)
    add_model(parser)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.induction.embedded_fit import EmbeddedFit
    from personalrm.induction.model_fit import ModelFit
    from personalrm.induction.prepared import Preparation, prepare_prompts
    from personalrm.preferences.prepared_prompts import refuse_other_prompts, write_prepared
    from personalrm.preferences.reading.files import iter_users

    users, report = list(iter_users(options.file, read_options(options))), Preparation()
    settings = induction_settings(options)
    with optional_judge(options) as judge:
        engine = EmbeddedFit(settings) if judge is None else ModelFit(judge, settings)
        refuse_other_prompts(options.out, users, "embedded" if judge is None else judge.name)
        prompts = prepare_prompts(
            engine,
            users,
            report,
            min_pairs=options.min_pairs,
            cross_fitted=options.cross_fitted,
            hold_out=options.hold_out,
        )
        with Progress("prepare-prompts", len(users)) as progress:
            for prompt in write_prepared(options.out, prompts):
                if prompt.without is None:
                    progress.step()
        if judge is not None and not options.json:
            print_usage(judge.caller)
    saved = f"saved in {options.out}" if report.n_users or report.n_cross_fitted else "so no file was written"
    if options.json:
        print_json(asdict(report))
    else:
        print(f"{count(report.n_users, 'user')} with a prompt, {saved}")
        print_counts(
            (report.n_cross_fitted, "prompt", "made without one conversation"),
            (report.n_too_few, "user", f"with fewer than {options.min_pairs} choices, without a prompt"),
            (report.n_single, "user", "with one conversation only, not cross-fitted"),
        )
    problems = print_problems(
        f"no prompt of user {user_id!r} ({reason}); run the same command again"
        for user_id, reason in report.failed.items()
    )
    return problems if report.n_users or report.n_cross_fitted else 1
