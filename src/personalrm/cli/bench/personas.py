"""Ask about the personas of a run: do they match what users say, what do they say, what do they flip, how do they lie.

Writes into the run folder what `bench report` shows as Figure 3, Table 4 and Figure 10, and how often
a persona flips answers to factual and safety questions.
Without a model personas are read as the embedded engine reads them.

Example: personalrm bench personas runs/prism --surveys survey.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from personalrm.cli.flags import non_negative
from personalrm.cli.model_options import add_model, open_caller, print_usage, refuse_model_flags_alone
from personalrm.cli.options import add_output
from personalrm.cli.printing import print_error, print_wrapped
from personalrm.errors import BadInput
from personalrm.wording import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="run folder with stored personas")
    parser.add_argument(
        "--surveys", metavar="FILE", help="what users say of themselves; `example` for the people that ship"
    )
    parser.add_argument(
        "--only",
        metavar="LIST",
        help="some of validity, concepts, map, sycophancy (default: all; validity needs --surveys)",
    )
    parser.add_argument("--scripted", action="store_true", help="the model is a fake; every table then says so")
    parser.add_argument("--seed", type=non_negative, default=0, help="seed of every draw (default: %(default)s)")
    add_model(parser)
    add_output(parser, "home", "config")


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.personas.experiments import QUESTIONS, ask_about_personas, read_about
    from personalrm.bench.results.folder import RunFolder

    about = read_about(options.surveys) if options.surveys else {}
    wanted: Any = [name.strip() for name in options.only.split(",")] if options.only else list(QUESTIONS)
    if not options.surveys and "validity" in wanted:
        if options.only:
            raise BadInput("validity needs --surveys; name a file, or `example` for the people that ship")
        wanted.remove("validity")
    if options.model is None:
        refuse_model_flags_alone(options)
    n_missing = 0
    lines_of = {"validity": _validity, "concepts": _concepts, "map": _map, "sycophancy": _flips}
    with open_caller(options) if options.model is not None else nullcontext() as caller:
        folder, scripted, seed = RunFolder(options.run_folder), options.scripted, options.seed
        for asked in ask_about_personas(folder, about, wanted, caller=caller, is_scripted=scripted, seed=seed):
            print(f"{asked.question}: {asked.cell.dataset}, {asked.cell.method}, {asked.cell.model or 'no model'}")
            if asked.found is None:
                n_missing += 1
                print_error(f"{asked.question} was not measured: {asked.reason}", 3)
                continue
            for line in lines_of[asked.question](asked.found):
                print_wrapped(line, "  ")
        if caller is not None:
            print_usage(caller)
    print(f"personalrm bench report {options.run_folder} shows them", file=sys.stderr)
    return 3 if n_missing else 0


def _validity(result: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{result['n_users']} users, {result['n_without_persona']} without a persona left out, by {result['judge']}"
    ]
    names = (("true", "matches with the own statement"), ("random", "matches with another's"), ("choice", "own chosen"))
    return lines + [f"{words}: {_rate(result[name])}" for name, words in names]


def _rate(rate: Mapping[str, Any] | None) -> str:
    """A share with its interval and counts."""
    if rate is None:
        return "not measured, nothing was scored"
    low, high = rate["interval"]["low"], rate["interval"]["high"]
    interval = "" if low is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * rate['share']:.1f} %{interval} of {rate['n']}, {rate['n_unscored']} unscored"


def _concepts(result: Mapping[str, Any]) -> list[str]:
    rows = [f"{concept['n']:>5}  {concept['name']}" for concept in result["concepts"]] or ["no concept"]
    return [f"{result['n_personas']} personas, {result['n_empty']} empty, by {result['judge']}", *rows]


def _map(result: Mapping[str, Any]) -> list[str]:
    rows = [
        f"{column['column']}: silhouette {column['silhouette']:.3f} (p = {column['silhouette_p']:.3g}), classifier "
        f"{100 * column['accuracy']:.1f} % against {100 * column['chance']:.1f} % by chance "
        f"(p = {column['accuracy_p']:.3g})"
        for column in result["separability"]
    ]
    rows += [f"{name}: groups too few or too small to be told apart" for name in result["left_out"]]
    return [f"{count(len(result['points']), 'persona')} by {result['kind']}", *rows]


def _flips(result: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['kind']}: {row['n_items']} items, right without a persona {_share(row['right_alone'])}, with one "
        f"{_share(row['right_with'])}; flipped to wrong {_share(row['flipped'])}, to right {_share(row['righted'])}, "
        f"{row['n_unscored']} unscored"
        for row in result["rows"]
    ]


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.1f} %"
