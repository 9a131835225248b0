"""Run methods x models x datasets x seeds of a run file into a run folder; a killed run goes on with the same command.

Example: personalrm bench run -c run.yaml --dry-run
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.cli.flags import add_flags, amount, from_flags, positive
from personalrm.cli.model_options import note_destinations
from personalrm.cli.options import add_output
from personalrm.cli.printing import MOST_LISTED, EveryMinute, print_counts, print_json, print_wrapped
from personalrm.cli.trusted import Trusted, add_trust, check_run_file, model_folders
from personalrm.errors import BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.bench.plan.spec import RunSpec
    from personalrm.bench.runs.data import Dataset
    from personalrm.bench.runs.models import Models
    from personalrm.bench.runs.runner import CellReport

PROMPT_TOKENS, REPLY_TOKENS = 700, 200
"""Of a call, about: a persona or some demonstrations and a pair of answers of ordinary length."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from personalrm.lm.settings import Retry

    add = parser.add_argument
    add("-c", "--run-file", required=True, metavar="YAML", help="what to run; docs/benchmark.md explains every key")
    add("--data", metavar="DIR", help="where datasets are that do not lie beside the run file")
    add("--folder", metavar="DIR", help="run folder (default: runs/NAME in the home folder)")
    add("--limit", type=positive, metavar="N", help="at most N users of each dataset, the same ones every time")
    add("--dry-run", action="store_true", help="list the cells and how many calls they can take at most, do nothing")
    add("--model-url", action="append", metavar="LABEL=URL", help="where a model is, in place of its base_url")
    add(
        "--max-calls", type=positive, metavar="N", help="stop before more requests leave than this, all models together"
    )
    add("--max-cost", type=amount, metavar="USD", help="stop before more could be spent than this")
    add_trust(parser, "the run file")
    add_flags(parser, Retry)
    add("--retry-unscored", action="store_true", help="ask again what had no readable answer")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.plan.cells import left_out
    from personalrm.bench.plan.spec import read_run_file
    from personalrm.bench.results.folder import RunFolder
    from personalrm.bench.runs.runner import Runner
    from personalrm.bench.runs.setup import begin_run, load_bases, load_datasets, load_persona_prompts

    spec, base = _with_options(read_run_file(options.run_file), options), Path(options.run_file).parent
    data = Path(options.data) if options.data is not None else None
    own_urls = [text.partition("=")[2] for text in options.model_url or ()]
    trusted = Trusted.of(options.run_file, options, own_urls)
    check_run_file(spec, trusted, data)
    models = _models(spec, options, trusted)
    models.check()
    datasets, persona_prompts = load_datasets(spec, base, data), load_persona_prompts(spec, base)
    for note in (*left_out(spec), *(note for dataset in datasets.values() for note in dataset.notes)):
        print(f"warning: {note}", file=sys.stderr)
    bases = load_bases(spec, datasets, base)
    if options.dry_run:
        return _predict(spec, datasets, options, models)
    folder = RunFolder(options.folder or Path(options.home) / "runs" / spec.name)
    begin_run(spec, datasets, persona_prompts, folder, bases=bases)
    note_destinations(models.name_of(model) for model in spec.models)
    reports = []
    runner = Runner(
        spec,
        datasets,
        folder,
        models,
        persona_prompts,
        retry_unscored=options.retry_unscored,
        embeddings=Path(options.home) / "embeddings",
        bases=bases,
    )
    with EveryMinute(models.progress):
        for report in runner.run():
            reports.append(report)
            if not report.was_done:  # a line a cell, as it is finished
                unscored = f", {report.n_unscored:,} unscored" if report.n_unscored else ""
                result = f"{count(report.n_rows, 'judgement')}{unscored}" if report.is_done else report.reason
                print(f"  {report.cell.name}: {result}", file=sys.stderr)
    return _print_summary(reports, datasets, folder.path, options)


def _with_options(spec: RunSpec, options: argparse.Namespace) -> RunSpec:
    """The run file with what the flags change."""
    budget = replace(
        spec.budget,
        max_calls=options.max_calls or spec.budget.max_calls,
        max_cost=options.max_cost or spec.budget.max_cost,
    )
    name = spec.name if options.limit is None else f"{spec.name}-limit{options.limit}"
    urls = {}
    for text in options.model_url or ():
        label, _, url = text.partition("=")
        if not url:
            raise BadInput(f"--model-url is {text!r}; write LABEL=URL")
        urls[label] = url
    for label in urls:
        if label not in {model.label for model in spec.models}:
            raise BadInput(f"--model-url names {label!r}, which is not a model of the run file; use its label")
    models = tuple(replace(model, base_url=urls.get(model.label, model.base_url)) for model in spec.models)
    return replace(spec, name=name, models=models, budget=budget, limit=options.limit or spec.limit)


def _models(spec: RunSpec, options: argparse.Namespace, trusted: Trusted) -> Models:
    from personalrm.bench.runs.models import Models
    from personalrm.lm.cache import CACHE_FILE
    from personalrm.lm.settings import Retry

    keys = {}
    for model in spec.models:
        key = trusted.key_of(model.key_variable, model.base_url, f"model {model.label!r}")
        if model.key_variable is not None and not key and not options.dry_run:
            raise BadInput(f"variable {model.key_variable!r} with the key of model {model.label!r} is not set; set it")
        if key is not None:
            keys[model.label] = key
    return Models(
        spec.models,
        Path(options.home) / CACHE_FILE,
        budget=spec.budget,
        keys=keys,
        retry=from_flags(Retry, options),
        retry_unscored=options.retry_unscored,
        folders=model_folders(Path(options.run_file).parent),
    )


def _predict(spec: RunSpec, datasets: dict[str, Dataset], options: argparse.Namespace, models: Models) -> int:
    from personalrm.bench.runs.forecast import forecast_run
    from personalrm.cli.time_here import time_here

    rows = forecast_run(spec, datasets)
    total, n_trainings = sum(row.n_calls for row in rows), sum(row.n_trainings for row in rows)
    hours, told = {}, []
    for model in spec.models:
        n_calls = sum(row.n_calls for row in rows if row.cell.model == model.label)
        tokens, shorter = (n_calls * PROMPT_TOKENS, n_calls * REPLY_TOKENS), "--limit, fewer methods, a smaller model"
        if n_calls and (time := time_here(models.name_of(model), *tokens, shorter=shorter)) is not None:
            hours[model.label] = time[0]
            told.append(f"{model.label}, of about {PROMPT_TOKENS} tokens a call: {time[1]}")
    if options.json:
        content = {"cells": [asdict(row) for row in rows], "n_calls": total, "n_trainings": n_trainings}
        print_json(content | ({"hours": hours} if hours else {}))
        return 0
    for row in rows:
        calls = f"{row.n_calls:9,} calls at most" if row.is_bounded else f"  unknown, at least {row.n_calls:,} calls"
        print(f"{row.n_judgements:9,} judgements  {calls}  {row.cell.name}")
        if row.n_trainings:
            print(f"{'':9} trains {count(row.n_trainings, 'language model')} on {row.n_training_pairs:,} pairs in all")
    n_judgements = sum(row.n_judgements for row in rows)
    unknown = list(dict.fromkeys(row.cell.method for row in rows if not row.is_bounded))
    bound = f"an unknown number of calls of language models, at least {total:,}"
    if not unknown:
        bound = f"at most {count(total, 'call')} of language models"
    print(f"would run {count(len(rows), 'cell')}: {count(n_judgements, 'judgement')}, {bound}")
    if unknown:
        print(f"unknown: {', '.join(unknown)}, which do not say what they ask")
    if n_trainings:
        print(f"would train {count(n_trainings, 'language model')}; what is trained already is not counted off")
    if told:
        print("\n".join(told))
    return 0


def _print_summary(
    reports: list[CellReport], datasets: dict[str, Dataset], path: Path, options: argparse.Namespace
) -> int:
    """What was done; the exit code says whether it was everything."""
    left_out = {report.cell.name: report.reason for report in reports if report.reason.startswith("left out")}
    not_done = {report.cell.name: report.reason for report in reports if not report.is_done}
    not_done = {name: reason for name, reason in not_done.items() if name not in left_out}
    not_learned = {report.cell.name: dict(report.not_learned) for report in reports if report.not_learned}
    n_done, n_before = sum(report.is_done for report in reports), sum(report.was_done for report in reports)
    n_unscored = sum(report.n_unscored for report in reports)
    n_bad_rows = sum(dataset.n_bad_rows for dataset in datasets.values())
    if options.json:
        content = {"folder": str(path), "n_done": n_done, "n_done_before": n_before, "n_unscored": n_unscored}
        content |= {"n_bad_rows": n_bad_rows, "not_done": not_done, "left_out": left_out, "not_learned": not_learned}
        print_json(content)
    else:
        print(f"{count(n_done - n_before, 'cell')} run, {n_before:,} finished before, in {path}")
        print_counts(
            (n_unscored, "judgement", "unscored, counted 0.5"),
            (n_bad_rows, "bad row", "left out; personalrm validate lists them"),
            (len(left_out), "cell", "left out, since this data cannot make them"),
        )
        knew_nothing = {
            name: f"{count(len(reasons), 'user')}, such as {next(iter(reasons.items()))}"
            for name, reasons in not_learned.items()
        }
        for title, cells in (("not done", not_done), ("with users judged knowing nothing", knew_nothing)):
            if cells:
                print(f"{count(len(cells), 'cell')} {title}:")
            for name, reason in list(cells.items())[:MOST_LISTED]:
                print_wrapped(f"{name}: {reason}", "  ")
        if not_done:
            print("the same command goes on from here")
        print(f"next: personalrm bench report {path}")
    is_partly = not_done or n_unscored or n_bad_rows or not_learned
    return 0 if not is_partly else 3 if n_done else 1
