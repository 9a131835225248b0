"""Run methods x models x datasets x seeds of a run file into a run folder; a killed run goes on with the same command.

Example: personalrm bench run -c run.yaml --dry-run
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import add_flags, amount, from_flags, positive
from personalrm.cli.model_options import note_destinations
from personalrm.cli.options import add_output
from personalrm.cli.printing import print_counts, print_json, print_wrapped
from personalrm.errors import BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.bench.plan.spec import RunSpec
    from personalrm.bench.runs.data import Dataset
    from personalrm.bench.runs.models import Models
    from personalrm.bench.runs.runner import CellReport

MOST_LISTED = 10


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
    models = _models(spec, options)
    models.check()
    datasets, persona_prompts = load_datasets(spec, base, data), load_persona_prompts(spec, base)
    for note in (*left_out(spec), *(note for dataset in datasets.values() for note in dataset.notes)):
        print(f"warning: {note}", file=sys.stderr)
    bases = load_bases(spec, datasets, base)
    if options.dry_run:
        return _predict(spec, datasets, options)
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
    for report in runner.run():
        reports.append(report)
        _tell_cell(report)
    return _tell(reports, datasets, folder.path, options)


def _with_options(spec: RunSpec, options: argparse.Namespace) -> RunSpec:
    """The run file with what the flags change."""
    budget = replace(
        spec.budget,
        max_calls=options.max_calls or spec.budget.max_calls,
        max_cost=options.max_cost or spec.budget.max_cost,
    )
    name = spec.name if options.limit is None else f"{spec.name}-limit{options.limit}"
    urls = dict(_label_and_url(text) for text in options.model_url or ())
    unknown = [label for label in urls if label not in {model.label for model in spec.models}]
    if unknown:
        raise BadInput(f"--model-url names {unknown[0]!r}, which is not a model of the run file; use its label")
    models = tuple(replace(model, base_url=urls.get(model.label, model.base_url)) for model in spec.models)
    return replace(spec, name=name, models=models, budget=budget, limit=options.limit or spec.limit)


def _label_and_url(text: str) -> tuple[str, str]:
    label, equals, url = text.partition("=")
    if not equals or not url:
        raise BadInput(f"--model-url is {text!r}; write LABEL=URL")
    return label, url


def _models(spec: RunSpec, options: argparse.Namespace) -> Models:
    from personalrm.bench.runs.models import Models
    from personalrm.lm.settings import Retry

    keys = {}
    for model in spec.models:
        if model.key_variable is not None:
            key = os.environ.get(model.key_variable, "")
            if not key and not options.dry_run:
                raise BadInput(
                    f"variable {model.key_variable!r} with the key of model {model.label!r} is not set; set it"
                )
            keys[model.label] = key
    return Models(
        spec.models,
        Path(options.home) / "cache.sqlite",
        budget=spec.budget,
        keys=keys,
        retry=from_flags(Retry, options),
        retry_unscored=options.retry_unscored,
    )


def _predict(spec: RunSpec, datasets: dict[str, Dataset], options: argparse.Namespace) -> int:
    from personalrm.bench.runs.forecast import forecast_run

    rows = forecast_run(spec, datasets)
    total, n_trainings = sum(row.n_calls for row in rows), sum(row.n_trainings for row in rows)
    if options.json:
        print_json({"cells": [asdict(row) for row in rows], "n_calls": total, "n_trainings": n_trainings})
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
    return 0


def _tell_cell(report: CellReport) -> None:
    """One line a cell on stderr, as it is finished."""
    if report.was_done:
        return
    if not report.is_done:
        print(f"  {report.cell.name}: {report.reason}", file=sys.stderr)
        return
    unscored = f", {report.n_unscored:,} unscored" if report.n_unscored else ""
    print(f"  {report.cell.name}: {count(report.n_rows, 'judgement')}{unscored}", file=sys.stderr)


def _tell(reports: list[CellReport], datasets: dict[str, Dataset], path: Path, options: argparse.Namespace) -> int:
    """What was done; the exit code says whether it was everything."""
    undone = [report for report in reports if not report.is_done and not report.reason.startswith("left out")]
    n_bad_rows = sum(dataset.n_bad_rows for dataset in datasets.values())
    summary: dict[str, Any] = {
        "folder": str(path),
        "n_done": sum(report.is_done for report in reports),
        "n_done_before": sum(report.was_done for report in reports),
        "n_unscored": sum(report.n_unscored for report in reports),
        "n_bad_rows": n_bad_rows,
        "not_done": {report.cell.name: report.reason for report in undone},
        "left_out": {report.cell.name: report.reason for report in reports if report.reason.startswith("left out")},
        "not_learned": {report.cell.name: dict(report.not_learned) for report in reports if report.not_learned},
    }
    if options.json:
        print_json(summary)
    else:
        _print(summary)
    is_partly = undone or summary["n_unscored"] or n_bad_rows or summary["not_learned"]
    return 0 if not is_partly else 3 if summary["n_done"] else 1


def _print(summary: dict[str, Any]) -> None:
    n_new = summary["n_done"] - summary["n_done_before"]
    print(f"{count(n_new, 'cell')} run, {summary['n_done_before']:,} finished before, in {summary['folder']}")
    print_counts(
        (summary["n_unscored"], "judgement", "unscored, counted 0.5"),
        (summary["n_bad_rows"], "bad row", "left out; personalrm validate lists them"),
        (len(summary["left_out"]), "cell", "left out, since this data cannot make them"),
    )
    for title, key in (("not done", "not_done"), ("with users judged knowing nothing", "not_learned")):
        if summary[key]:
            print(f"{count(len(summary[key]), 'cell')} {title}:")
        for name, reason in list(summary[key].items())[:MOST_LISTED]:
            print_wrapped(f"{name}: {reason if isinstance(reason, str) else _users(reason)}", "  ")
    if summary["not_done"]:
        print("the same command goes on from here")
    print(f"next: personalrm bench report {summary['folder']}")


def _users(reasons: dict[str, str]) -> str:
    return f"{count(len(reasons), 'user')}, such as {next(iter(reasons.items()))}"
