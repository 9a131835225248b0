"""Build a benchmark dataset from raw preferences: filters by user and by model, splits, funnel, card.

Example: personalrm bench build prism --out prism-benchmark --model openai/gpt-4o-mini --judges judges.yaml
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.cli.flags import add_flags, folder, from_flags, non_negative
from personalrm.cli.model_options import add_model, model_name, note_destinations, print_usage, refuse_model_flags_alone
from personalrm.cli.options import add_output, add_reading, read_options
from personalrm.cli.printing import print_error, print_json, print_table
from personalrm.cli.trusted import Trusted, add_trust, with_keys
from personalrm.errors import BadInput, ModelUnavailable
from personalrm.wording import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from personalrm.datasets.building.build import Build, BuildReport
    from personalrm.datasets.building.model_stages import JudgeEntry
    from personalrm.lm.opening import ModelName
    from personalrm.lm.prices import Price

FILTERS = ("personalizable", "consensus")


def filters(text: str) -> tuple[str, ...]:
    """Names of filters separated by commas."""
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in FILTERS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a filter that can be left out; use {', '.join(FILTERS)}")
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from personalrm.datasets.building.settings import BuildSettings

    add = parser.add_argument
    add("source", help="arena, prism, their hub names, or a file or folder of the same layout")
    add("--out", type=folder, required=True, metavar="FOLDER", help="where the dataset goes; the same command resumes")
    add("--source-config", metavar="NAME", help="configuration of a folder, such as PRISM's utterances")
    add("--survey", metavar="FILE", help="survey of the users, where it does not lie in the folder")
    add("--judges", metavar="YAML", help="judges of the consensus filter (default: the model of --model alone)")
    add("--without", type=filters, default=(), metavar="FILTERS", help=f"filters to leave out: {', '.join(FILTERS)}")
    add_flags(parser, BuildSettings, "min_pairs", "shares", "split_at", "seed")
    add("--shots", type=non_negative, default=20, metavar="N", help="labeled requests shown (default: %(default)s)")
    add_flags(parser, BuildSettings, "kind", "n_examples", "shows_text")
    add("--scripted", action="store_true", help="--model is a script: label what it measures so")
    add("--dry-run", action="store_true", help="say what would be asked and spent, do nothing")
    add_trust(parser, "the judges file")
    add_reading(parser)
    add_model(parser)
    add_output(parser, "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.datasets.building.build import WORK, Build
    from personalrm.datasets.building.model_stages import Consensus, Personalizable, open_caller
    from personalrm.datasets.building.publishing import run_build
    from personalrm.datasets.building.settings import BuildSettings
    from personalrm.datasets.personalizable import PersonalizableFilter, PersonalizableOptions
    from personalrm.datasets.sources import open_source
    from personalrm.judging.model import ModelJudge
    from personalrm.judging.options import JudgeOptions
    from personalrm.lm.prices import price_of
    from personalrm.lm.settings import Budget, Limits, Pot, Retry

    filter_entry, judge_entries = _read_models(options)
    pot, prices, callers = Pot(), {}, []
    with ExitStack() as stack:
        for entry in (*([filter_entry] if filter_entry else []), *judge_entries):
            if not options.dry_run:
                note_destinations([entry.model])
            price = prices[entry.model.name] = price_of(entry.model.name, options.prices)
            caller = open_caller(
                entry.model,
                Path(options.out) / WORK,
                retry=from_flags(Retry, options),
                limits=from_flags(Limits, options),
                budget=from_flags(Budget, options, pot=pot),
                retry_unscored=options.retry_unscored,
                price=price,
            )
            callers.append(stack.enter_context(caller))
        judging = callers[1:] if filter_entry else callers
        judges = tuple(ModelJudge(caller, from_flags(JudgeOptions, options)) for caller in judging)
        settings = from_flags(BuildSettings, options)  # refused before the source is opened
        personalizable = None
        if filter_entry:
            how = PersonalizableOptions(
                options.shots, seed=options.model_seed, max_prompt_tokens=options.context_tokens
            )
            personalizable = Personalizable(PersonalizableFilter(callers[0], how))
        build = Build(
            options.out,
            open_source(options.source, read_options(options), config=options.source_config, survey=options.survey),
            settings,
            personalizable=personalizable,
            consensus=Consensus(judges) if judges else None,
            retry_unscored=options.retry_unscored,
        )
        if options.dry_run:
            entries = (*([filter_entry] if filter_entry else []), *judge_entries)
            return _predict(build, prices, [entry.model for entry in entries], options)
        try:
            accuracy = personalizable.asked.measure(is_scripted=options.scripted) if personalizable else None
            report = run_build(build, watch=_show_progress, accuracy=accuracy)
        except ModelUnavailable as error:
            done = build.work.is_dir() and any(build.work.glob("[0-9]*.json"))
            return print_error(f"{error}; the same command goes on from here", 3 if done else 1)
        if options.json:
            print_json(report.manifest)
        else:
            _print(report, options)
            for caller in callers:
                print(f"{caller.lm.name}:", file=sys.stderr)
                print_usage(caller)
    return 3 if report.n_not_answered or report.n_bad_rows else 0


def _predict(
    build: Build, prices: dict[str, Price | None], models: Sequence[ModelName], options: argparse.Namespace
) -> int:
    from personalrm.cli.time_here import time_here
    from personalrm.datasets.building.forecast import forecast_build

    forecast = forecast_build(build, prices)
    content, lines = forecast.as_json(), forecast.lines()
    for model, asked in zip(models, forecast.models, strict=True):
        tokens = asked.prompt_tokens, asked.completion_tokens
        if (time := time_here(model, *tokens, shorter="fewer people, a smaller model")) is not None:
            content.setdefault("hours", {})[asked.model] = time[0]
            lines.append(f"{asked.model}: {time[1]}")
    if options.json:
        print_json(content)
    else:
        print("\n".join(lines))
    return 0


def _read_models(options: argparse.Namespace) -> tuple[JudgeEntry | None, tuple[JudgeEntry, ...]]:
    """The model of the personalizable filter and the judges of the consensus filter; nothing for what is left out.

    Raises:
        BadInput: If a filter has no model.
    """
    from personalrm.datasets.building.model_stages import JudgeEntry, read_judges

    named, with_personalizable = None, "personalizable" not in options.without
    if options.model is not None:
        named = JudgeEntry(model_name(options), options.scripted)
    elif options.judges is None:
        refuse_model_flags_alone(options)
    if named is None and with_personalizable:
        raise BadInput("the personalizable filter needs --model; name one or add --without personalizable")
    judges: tuple[JudgeEntry, ...] = ()
    if "consensus" not in options.without:
        if options.judges is not None:
            judges = with_keys(read_judges(options.judges), Trusted.of(options.judges, options))
        else:
            judges = (named,) if named else ()
        if not judges:
            raise BadInput("the consensus filter needs --judges or --model; name them or add --without consensus")
    return named if with_personalizable else None, judges


def _show_progress(point: str) -> None:
    name, _, what = point.rpartition(" ")
    if sys.stderr.isatty() and what in ("begun", "reused"):
        print(f"{name.replace('_', ' ')} ...{' done before' if what == 'reused' else ''}", file=sys.stderr)


def _print(report: BuildReport, options: argparse.Namespace) -> None:
    cells = []
    for row in report.funnel:
        counts = (row.n_pairs, row.n_users, row.n_pairs_removed, row.n_users_removed)
        cells.append((row.title, *(f"{n:,}" for n in counts)))
    print_table(("stage", "pairs", "users", "pairs removed", "users removed"), cells)
    for row in report.funnel:
        for reason, n_pairs in row.removed.items():
            print(f"  {row.title}: {count(n_pairs, 'pair')}, {reason}")
    if responses := report.funnel[0].notes.get("scored responses", 0):
        print(f"  {count(report.funnel[0].n_pairs, 'pair')} out of {count(responses, 'scored response')}")
    accuracy = report.accuracy.line() if report.accuracy is not None else "not measured"
    print(f"accuracy of the personalizable filter: {accuracy}")
    for split, numbers in report.manifest["statistics"].items():
        pairs = ", ".join(f"{numbers.get(f'n_{name}_pairs', 0):,} {name}" for name in ("train", "validation", "target"))
        print(f"{split} users: {numbers.get('n_users', 0):,} with {count(numbers.get('n_pairs', 0), 'pair')} ({pairs})")
    if report.n_not_answered:
        print(f"{count(report.n_not_answered, 'pair')} without a usable answer left out; ask again: --retry-unscored")
    print(f"dataset in {options.out}: data/, manifest.json, README.md")
