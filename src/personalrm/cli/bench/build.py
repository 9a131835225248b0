"""Build a benchmark dataset from raw preferences: filters by user and by model, splits, funnel, card.

Example: personalrm bench build prism --out prism-benchmark --model openai/gpt-4o-mini --judges judges.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import add_flags, folder, from_flags, non_negative
from personalrm.cli.model_options import add_model, model_name, note_destinations, print_usage, refuse_model_flags_alone
from personalrm.cli.options import add_output, add_reading, read_options
from personalrm.cli.printing import print_error, print_json, print_table
from personalrm.errors import BadInput, ModelUnavailable
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.datasets.building.build import Build, BuildReport
    from personalrm.datasets.building.judges_file import JudgeEntry
    from personalrm.judging.model import ModelJudge
    from personalrm.lm.batch import Caller
    from personalrm.lm.prices import Price

FILTERS = ("personalizable", "consensus")
PARTLY = 3


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
    add("--shots", type=non_negative, default=20, metavar="N", help="labelled requests shown (default: %(default)s)")
    add_flags(parser, BuildSettings, "kind", "n_examples", "shows_text")
    add("--scripted", action="store_true", help="--model is a script: label what it measures so")
    add("--dry-run", action="store_true", help="say what would be asked and spent, do nothing")
    add_reading(parser)
    add_model(parser)
    add_output(parser, "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.datasets.building.publishing import run_build

    with _models(options) as models:
        build = _build(options, models)
        if options.dry_run:
            return _predict(build, options, models)
        try:
            accuracy = None
            if build.personalizable is not None:
                accuracy = build.personalizable.asked.measure(is_scripted=models.is_scripted)
            report = run_build(build, watch=_progress, accuracy=accuracy)
        except ModelUnavailable as error:
            done = build.work.is_dir() and any(build.work.glob("[0-9]*.json"))
            return print_error(f"{error}; the same command goes on from here", PARTLY if done else 1)
        code = _tell(report, options)
        models.print_usage()
        return code


class _Models:
    """The models of a build, opened."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.filter: Caller | None = None
        self.judges: list[ModelJudge] = []
        self.is_scripted: bool = options.scripted
        self.prices: dict[str, Price | None] = {}

    def print_usage(self) -> None:
        if self._options.json:
            return
        asked = [self.filter] if self.filter is not None else []
        for caller in (*asked, *(judge.caller for judge in self.judges)):
            print(f"{caller.lm.name}:", file=sys.stderr)
            print_usage(caller)


@contextmanager
def _models(options: argparse.Namespace) -> Iterator[_Models]:
    from personalrm.datasets.building.judges_file import JudgeEntry, read_judges
    from personalrm.judging.model import ModelJudge
    from personalrm.judging.options import JudgeOptions
    from personalrm.lm.settings import Pot

    models = _Models(options)
    named = None
    if options.model is not None:
        named = JudgeEntry(model_name(options), options.scripted)
    elif options.judges is None:
        refuse_model_flags_alone(options)
    if named is None and "personalizable" not in options.without:
        raise BadInput("the personalizable filter needs --model; name one or add --without personalizable")
    entries: tuple[JudgeEntry, ...] = ()
    if "consensus" not in options.without:
        entries = read_judges(options.judges) if options.judges is not None else (named,) if named else ()
        if not entries:
            raise BadInput("the consensus filter needs --judges or --model; name them or add --without consensus")
    with ExitStack() as stack:
        pot = Pot()
        if named is not None and "personalizable" not in options.without:
            models.filter = stack.enter_context(_caller(named, options, pot, models))
        for entry in entries:
            caller = stack.enter_context(_caller(entry, options, pot, models))
            models.judges.append(ModelJudge(caller, from_flags(JudgeOptions, options)))
        yield models


def _caller(entry: JudgeEntry, options: argparse.Namespace, pot: Any, models: _Models) -> Caller:
    from personalrm.datasets.building.answers import Asking, open_caller
    from personalrm.datasets.building.build import WORK
    from personalrm.lm.prices import price_of
    from personalrm.lm.settings import Budget, Limits, Retry

    if not options.dry_run:
        note_destinations([entry.model])
    asking = Asking(
        from_flags(Retry, options),
        from_flags(Limits, options),
        from_flags(Budget, options, pot=pot),
        options.retry_unscored,
    )
    price = models.prices[entry.model.name] = price_of(entry.model.name, options.prices)
    return open_caller(entry.model, Path(options.out) / WORK, asking, price)


def _build(options: argparse.Namespace, models: _Models) -> Build:
    from personalrm.datasets.building.build import Build
    from personalrm.datasets.building.model_stages import Consensus, Personalizable
    from personalrm.datasets.building.settings import BuildSettings
    from personalrm.datasets.personalizable import PersonalizableFilter, PersonalizableOptions
    from personalrm.datasets.sources import open_source

    settings = from_flags(BuildSettings, options)  # refused before the source is opened
    asked = None
    if models.filter is not None:
        how = PersonalizableOptions(options.shots, seed=options.model_seed, max_prompt_tokens=options.context_tokens)
        asked = Personalizable(PersonalizableFilter(models.filter, how))
    source = open_source(options.source, read_options(options), config=options.source_config, survey=options.survey)
    return Build(
        options.out,
        source,
        settings,
        personalizable=asked,
        consensus=Consensus(tuple(models.judges)) if models.judges else None,
        retry_unscored=options.retry_unscored,
    )


def _progress(point: str) -> None:
    name, _, what = point.rpartition(" ")
    if sys.stderr.isatty() and what in ("begun", "reused"):
        print(f"{name.replace('_', ' ')} ...{' done before' if what == 'reused' else ''}", file=sys.stderr)


def _predict(build: Build, options: argparse.Namespace, models: _Models) -> int:
    from personalrm.datasets.building.forecast import forecast_build

    forecast = forecast_build(build, models.prices)
    if options.json:
        print_json(forecast.as_json())
    else:
        print("\n".join(forecast.lines()))
    return 0


def _tell(report: BuildReport, options: argparse.Namespace) -> int:
    if options.json:
        print_json(report.manifest)
    else:
        _print(report, options)
    return PARTLY if report.n_not_answered or report.n_bad_rows else 0


def _print(report: BuildReport, options: argparse.Namespace) -> None:
    header = ("stage", "pairs", "users", "pairs removed", "users removed")
    print_table(
        header,
        [
            (row.title, f"{row.n_pairs:,}", f"{row.n_users:,}", f"{row.n_pairs_removed:,}", f"{row.n_users_removed:,}")
            for row in report.funnel
        ],
    )
    for row in report.funnel:
        for reason, n_pairs in row.removed.items():
            print(f"  {row.title}: {count(n_pairs, 'pair')}, {reason}")
    responses = report.funnel[0].notes.get("scored responses", 0)
    if responses:
        print(f"  {count(report.funnel[0].n_pairs, 'pair')} out of {count(responses, 'scored response')}")
    accuracy = report.accuracy.line() if report.accuracy is not None else "not measured"
    print(f"accuracy of the personalizable filter: {accuracy}")
    for split, counts in report.manifest["statistics"].items():
        pairs = ", ".join(f"{counts.get(f'n_{name}_pairs', 0):,} {name}" for name in ("train", "validation", "target"))
        print(f"{split} users: {counts.get('n_users', 0):,} with {count(counts.get('n_pairs', 0), 'pair')} ({pairs})")
    if report.n_not_answered:
        print(f"{count(report.n_not_answered, 'pair')} without a usable answer left out; ask again: --retry-unscored")
    print(f"dataset in {options.out}: data/, manifest.json, README.md")
