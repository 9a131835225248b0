"""Learn every user of a file and save their personal prompts in the home folder.

Example: personalrm fit prefs.jsonl --home ./personalrm-home
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.cli.model_options import add_model, model_name, optional_judge, print_usage
from personalrm.cli.options import (
    add_induction,
    add_output,
    add_reading,
    add_schedule,
    induction_settings,
    read_options,
)
from personalrm.cli.printing import MOST_LISTED, Progress, print_counts, print_error, print_json
from personalrm.errors import NewerVersion, StoreError
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.induction.fit_job import FitJob, FitReport
    from personalrm.judging.model import ModelJudge
    from personalrm.lm.cache import Unscored
    from personalrm.lm.protocol import Reply


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="preference pairs: .jsonl, .csv, .tsv, .parquet, also .gz; - is standard input")
    parser.add_argument("-u", "--user", help="fit this user only; the others still tell what most people like")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and spent, do nothing")
    add_schedule(parser)
    add_reading(parser)
    add_induction(parser)
    add_model(parser)
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.induction.embedded_fit import EmbeddedFit
    from personalrm.induction.fit_job import FitJob
    from personalrm.induction.model_fit import ModelFit
    from personalrm.store.people import PeopleStore

    settings = induction_settings(options)
    with optional_judge(options) as judge:
        job = FitJob(
            options.file,
            PeopleStore(options.home, options.database),
            EmbeddedFit(settings) if judge is None else ModelFit(judge, settings),
            read_options(options),
            user_ids=None if options.user is None else [options.user],
            retry_unscored=options.retry_unscored,
        ).prepare()
        if options.dry_run:
            return _predict(job, options, judge)
        with Progress("fit", job.report.n_users) as progress:
            for _ in job.run(_say_stopping):
                spent = ""
                if judge is not None:
                    total, cost = judge.caller.ledger.total, judge.caller.purse.cost
                    n_tokens = total.prompt_tokens + total.completion_tokens
                    spent = f"{count(total.n_calls, 'call')}, {count(n_tokens, 'token')}"
                    spent += f", {cost:.2f} USD" if cost else ""
                progress.step(spent)
    report = job.report
    if options.json:
        content = report.as_json()
        if judge is not None:
            ledger = judge.caller.ledger
            usage = {stage: vars(amounts) for stage, amounts in ledger.by_stage.items()}
            content |= {"usage": usage, "served_by": ledger.served_by}
        print_json(content)
    else:
        _print(report, options)
    if judge is not None:
        _print_model(report, judge, options)
    if report.is_whole:
        return 0
    nothing_done = report.stopped and not report.n_fitted and not report.n_unchanged
    return 1 if nothing_done else 3


def _say_stopping() -> None:
    print("\nstopping, answers under way are awaited and kept; interrupt again to leave at once", file=sys.stderr)


def _predict(job: FitJob, options: argparse.Namespace, judge: ModelJudge | None) -> int:
    from personalrm.cli.time_here import time_here
    from personalrm.induction.forecast import Kept, forecast
    from personalrm.lm.cache import CACHE_FILE, Cache, Unscored
    from personalrm.lm.prices import price_of

    if judge is None:
        content: dict[str, Any] = {"n_users": job.report.n_users, "n_calls": 0, "n_tokens": 0, "cost": 0.0}
        line = f"would fit {count(job.report.n_users, 'user')} with the embedded engine: 0 calls, 0 tokens, no cost"
    else:
        price = price_of(options.model, options.prices)

        def find(key: bytes) -> Reply | Unscored | None:
            answer = cache.find(key)
            return None if isinstance(answer, Unscored) and options.retry_unscored else answer

        kept: Kept | None = find
        with closing(Cache(Path(options.home) / CACHE_FILE, read_only=True)) as cache:
            try:
                cache.open()
            except NewerVersion:
                raise
            except StoreError as error:  # a damaged cache, with which a fit would begin anew
                print(f"warning: {error}", file=sys.stderr)
                kept = None
            guess = forecast(job.todo(), judge, induction_settings(options), price, kept)
        content, line = guess.as_json(), guess.line()
        shorter = "fewer --trials, one --user, a smaller --max-tokens or model"
        tokens = guess.prompt_tokens, guess.completion_tokens
        if guess.n_calls and (time := time_here(model_name(options), *tokens, shorter=shorter)) is not None:
            content["hours"], told = time
            line += f"\n{told}"
    if options.json:
        print_json(content)
    else:
        print(line)
    return 0


def _print_model(report: FitReport, judge: ModelJudge, options: argparse.Namespace) -> None:
    """What asking the model came to, on stderr."""
    if not options.json:
        print_usage(judge.caller)
    if losses := judge.losses.line():
        print(losses, file=sys.stderr)
    if judge.caller.stopped is not None and report.stopped:
        print_error(judge.caller.stopped, 3)
        # A stopped fit may have finished nobody and still lost nothing that was paid.
        if n_kept := judge.caller.ledger.n_kept:
            kept = f"{count(n_kept, 'answer')} of the model kept in {options.home}"
            print(f"{kept}; run the same command again, it asks only what is missing", file=sys.stderr)


def _print(report: FitReport, options: argparse.Namespace) -> None:
    print(f"{count(report.n_fitted, 'user')} fitted, {report.n_unchanged:,} unchanged, saved in {options.home}")
    print_counts(
        (report.n_too_few, "user", "with too few pairs for anything personal"),
        (report.n_without_sentence, "user", "of whom nothing is clear enough for a sentence; show lists how they lean"),
        (report.n_without_context, "user", "with target rows only, left out"),
        (report.n_forgotten, "choice", "left out, forgotten for good"),
        (report.tally.n_bad_rows, "bad row", "left out; personalrm validate lists them"),
    )
    for line in (*report.damaged, *report.tally.warnings):
        print(f"warning: {line}")
    for title, listed in (("partly done", report.partial), ("without a new prompt", report.failed)):
        if listed:
            print(f"{count(len(listed), 'user')} {title}:")
        for user_id, reason in list(listed.items())[:MOST_LISTED]:
            print(f"  {user_id}  {reason}")
        if len(listed) > MOST_LISTED:
            print(f"  ... and {len(listed) - MOST_LISTED:,} more; --json lists all")
    if report.stopped:
        print("stopped early; the same command goes on from here")
