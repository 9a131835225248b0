"""Search for a better persona prompt: the instruction and example personas by which personas are written.

Example: personalrm optimize prefs.jsonl --model my-model --base-url http://localhost:8000/v1 --out prompt.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.cli.flags import add_flags, from_flags
from personalrm.cli.model_options import (
    add_model,
    model_name,
    open_judge,
    print_usage,
    read_text_file,
    refuse_model_flags_alone,
)
from personalrm.cli.options import add_output, add_reading, read_options
from personalrm.cli.printing import Progress, print_error, print_json, print_wrapped
from personalrm.cli.trusted import other_key, same_server
from personalrm.errors import BadFile, BadInput, BudgetSpent, ModelUnavailable, PersonalRMError, StoreError
from personalrm.whole_files import replace_file
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.induction.search.distill import Transfer
    from personalrm.induction.search.optimize import Optimized
    from personalrm.induction.search.people import People
    from personalrm.induction.search.settings import SearchSettings
    from personalrm.judging.model import ModelJudge
    from personalrm.preferences.persona_prompts import PersonaPrompt

INTERRUPTED = "interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from personalrm.induction.search.settings import SearchSettings

    parser.add_argument("file", help="preference pairs of train users, and of dev users where there is no --dev")
    parser.add_argument("--dev", metavar="FILE", help="preference pairs of the users that candidates are scored on")
    parser.add_argument(
        "--dev-share", type=float, default=0.5, metavar="X", help="share of the users for dev (default: %(default)s)"
    )
    parser.add_argument(
        "--out", default="persona-prompt.json", metavar="FILE", help="the persona prompt (default: %(default)s)"
    )
    parser.add_argument("--dspy-out", metavar="FILE", help="write it as a DSPy program too")
    parser.add_argument(
        "--method",
        choices=("search", "mipro"),
        default="search",
        help="our own search, or DSPy's MIPROv2 (extra optimize) (default: %(default)s)",
    )
    parser.add_argument(
        "--instruction", action="append", metavar="FILE", help="instruction to try, one a file; may be repeated"
    )
    add_flags(parser.add_argument_group("how to search"), SearchSettings)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and spent, do nothing")
    group = parser.add_argument_group("distillation")
    group.add_argument("--teacher-model", metavar="MODEL", help="search with this model, then measure --model with it")
    group.add_argument("--teacher-base-url", metavar="URL", help="its server")
    group.add_argument("--teacher-key-file", metavar="FILE", help="file with its API key")
    add_reading(parser)
    add_model(parser)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.induction.search.candidates import check_instructions
    from personalrm.induction.search.settings import SearchSettings

    settings = from_flags(SearchSettings, options)
    _refuse_early(options)
    people, n_bad = _read_people(options, settings)
    _refuse_to_replace(options, people, settings)
    paths = options.instruction or []  # from the environment it is a single path
    texts = [read_text_file(path, "instruction") for path in ([paths] if isinstance(paths, str) else paths)]
    instructions = check_instructions(texts)
    searching = options
    if options.teacher_model:  # headers and body belong to the student's server
        teacher = {"model": options.teacher_model, "base_url": options.teacher_base_url}
        teacher |= {"key_file": options.teacher_key_file, "header": None, "body": None}
        # PERSONALRM_API_KEY is the student's server's too
        is_apart = options.base_url is not None and not same_server(options.base_url, options.teacher_base_url or "")
        teacher["key"] = other_key(options.teacher_model, options.teacher_base_url) if is_apart else None
        searching = argparse.Namespace(**{**vars(options), **teacher})
    if options.dry_run:
        return _predict(people, searching, settings)
    try:
        with _stoppable(searching) as judge:
            start = judge.persona_prompt
            optimized = _search(people, judge, options, settings, instructions)
            _write(options, optimized.prompt)
            _tell_usage(judge, options)
            spent = (judge.caller.purse.n_calls, judge.caller.purse.cost)
        transfer = _transfer(people, options, settings, (start, optimized.prompt), spent)
    except ModelUnavailable as error:
        if str(error) != INTERRUPTED:
            raise
        return print_error("stopped; what was answered is kept, the same command goes on from there", 3)
    _tell(optimized, transfer, options, n_bad)
    return 3 if n_bad or optimized.n_unscored else 0


def _refuse_early(options: argparse.Namespace) -> None:
    """What cannot end well is refused before anything is spent."""
    if options.model is None:
        refuse_model_flags_alone(options)
        raise BadInput("optimize asks a language model; name one with --model")
    for flag in ("teacher_base_url", "teacher_key_file"):
        if getattr(options, flag) and not options.teacher_model:
            raise BadInput(f"--{flag.replace('_', '-')} needs --teacher-model; name one or leave the flag out")
    if options.method == "mipro":
        if options.instruction:
            raise BadInput("MIPROv2 proposes its own instructions; leave out --instruction or use --method search")
        from personalrm.lm.with_dspy import load_dspy

        load_dspy()
    read = [options.file, options.dev, options.persona_prompt, *(options.instruction or [])]
    inputs = {Path(path).resolve() for path in read if path}
    outputs = [Path(path) for path in (options.out, options.dspy_out) if path]
    for out in outputs:
        if out.resolve() in inputs or outputs.count(out) > 1:
            raise BadInput(f"{str(out)!r} is read or written otherwise in this command; name another file")
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise BadFile(f"{str(out)!r} cannot be written: it is a folder, or its folder does not exist")


def _refuse_to_replace(options: argparse.Namespace, people: People, settings: SearchSettings) -> None:
    """A file is replaced by the search that wrote it only: of these people, by this model, method and settings."""
    from personalrm.preferences.persona_prompts import persona_prompt_from_json

    splits = [split for _, split in (*people.train, *people.dev)]
    pairs = {pair.hash for split in splits for part in (split.train, split.validation, split.target) for pair in part}
    now = {"method": "MIPROv2" if options.method == "mipro" else "search"}
    now |= {"model": options.teacher_model or options.model}
    chosen = json.loads(json.dumps(settings.as_json()))
    for path in (options.out, options.dspy_out):
        if not path or not Path(path).exists():
            continue
        try:
            then = persona_prompt_from_json(read_text_file(path, "persona prompt"), where=path).provenance
        except PersonalRMError:
            then = {}
        seen, settings_then = set(then.get("seen", ())), then.get("settings")
        is_same = seen and seen <= pairs and all(then.get(name) == value for name, value in now.items())
        if not is_same or not isinstance(settings_then, dict) or not chosen.items() <= settings_then.items():
            raise BadInput(f"{path!r} was not written by this search and would be replaced; name another")


def _read_people(options: argparse.Namespace, settings: SearchSettings) -> tuple[People, int]:
    """Train and dev users of the files, and how many rows were bad."""
    from personalrm.induction.search.people import divide, share_out
    from personalrm.preferences.reading.files import read_pairs

    users = read_pairs(options.file, read_options(options))
    n_bad = users.tally.n_bad_rows
    if options.dev is None:
        train, dev = share_out(list(users.values()), options.dev_share, settings.seed)
    else:
        others = read_pairs(options.dev, read_options(options))
        train, dev, n_bad = list(users.values()), list(others.values()), n_bad + others.tally.n_bad_rows
    return divide(train, dev, max_train_users=settings.max_train_users, seed=settings.seed), n_bad


@contextmanager
def _stoppable(options: argparse.Namespace) -> Iterator[ModelJudge]:
    """A judge that the first interrupt lets finish what is under way; the second ends at once."""
    from personalrm.stopping import Drain

    with open_judge(options) as judge, Drain(lambda: judge.caller.stop(ModelUnavailable(INTERRUPTED))):
        yield judge


def _search(
    people: People,
    judge: ModelJudge,
    options: argparse.Namespace,
    settings: SearchSettings,
    instructions: tuple[str, ...],
) -> Optimized:
    from personalrm.induction.search.mipro import optimize_with_mipro
    from personalrm.induction.search.optimize import optimize, searcher_of

    with Progress("optimize", None, "steps") as progress:

        def tell(step: str) -> None:
            progress.step(f"{step}, {count(judge.caller.ledger.total.n_calls, 'call')}")

        if options.method == "mipro":
            return optimize_with_mipro(people, judge, settings, tell)
        trials = Path(f"{options.out}.trials.jsonl")
        return optimize(people, searcher_of(judge, judge.persona_prompt, instructions), settings, trials, tell)


def _transfer(
    people: People,
    options: argparse.Namespace,
    settings: SearchSettings,
    prompts: tuple[PersonaPrompt, PersonaPrompt],
    spent: tuple[int, float],
) -> Transfer | None:
    """The student's scores, within what the teacher left of the budget; None without a teacher."""
    if not options.teacher_model:
        return None
    from personalrm.induction.search.distill import measure_transfer, with_transfer

    left = {"max_calls": options.max_calls and options.max_calls - spent[0]}
    left["max_cost"] = options.max_cost and options.max_cost - spent[1]
    if any(value is not None and value <= 0 for value in left.values()):
        raise BudgetSpent(
            "the teacher's search spent the whole budget; its prompt is saved, run the same command with a larger one"
        )
    with _stoppable(argparse.Namespace(**{**vars(options), **left})) as judge:
        transfer = measure_transfer(people.dev, judge, prompts[1], settings, start=prompts[0])
        _write(options, with_transfer(prompts[1], transfer))
        _tell_usage(judge, options)
    return transfer


def _write(options: argparse.Namespace, prompt: PersonaPrompt) -> None:
    """Write the prompt's files, each whole or not at all."""
    from personalrm.preferences.persona_prompts import persona_prompt_to_dspy, persona_prompt_to_json

    for path, as_text in ((options.out, persona_prompt_to_json), (options.dspy_out, persona_prompt_to_dspy)):
        if not path:
            continue
        try:
            replace_file(Path(path), [as_text(prompt)])
        except OSError as error:
            raise StoreError(f"{path!r} cannot be written ({error.strerror}); check the disk and the path") from None


def _predict(people: People, options: argparse.Namespace, settings: SearchSettings) -> int:
    from personalrm.cli.time_here import time_here
    from personalrm.induction.search.mipro import mipro_calls_by_purpose
    from personalrm.induction.search.optimize import calls_by_purpose, forecast_search
    from personalrm.lm.prices import price_of

    with open_judge(options) as judge:
        price = price_of(options.model, options.prices)
        count_calls = mipro_calls_by_purpose if options.method == "mipro" else calls_by_purpose
        guess = forecast_search(people, judge, count_calls(people, settings, judge.options.n_samples), price)
    content, told = guess.as_json(), ""
    tokens = guess.n_tokens - guess.n_reply_tokens, guess.n_reply_tokens
    shorter = "fewer candidates or dev users, a smaller model"
    if (time := time_here(model_name(options), *tokens, shorter=shorter)) is not None:
        content["hours"], told = time
    if options.json:
        print_json(content)
    else:
        print_wrapped(guess.line())
        if told:
            print(told)
    return 0


def _tell_usage(judge: ModelJudge, options: argparse.Namespace) -> None:
    if not options.json:
        print_usage(judge.caller)


def _tell(optimized: Optimized, transfer: Transfer | None, options: argparse.Namespace, n_bad: int) -> None:
    from personalrm.stats.paired import points

    student = transfer.as_json() if transfer is not None else None
    if options.json:
        print_json(optimized.as_json() | {"student": student, "out": options.out, "n_bad_rows": n_bad})
        return
    print(f"{count(optimized.n_dev_users, 'dev user')}; gain over the default judge in points, mean over users")
    print(f"  prompt to start from  {points(optimized.start_score)}")
    print(f"  prompt found          {points(optimized.score)}")
    if transfer is not None:
        scores = (transfer.start_score, transfer.score)
        before, after = ("unscored" if score is None else points(score) for score in scores)
        print(f"with {transfer.model}: {before} before, {after} with the prompt found")
    for note in optimized.notes:
        print_wrapped(f"note: {note}")
    examples = optimized.prompt.examples
    print(f"saved as {options.out}, with {count(len(examples), 'example persona')}")
    if any(example.pairs for example in examples):
        print("note: the examples hold words of train users; whoever gets the file can read them", file=sys.stderr)
    if n_bad:
        print(f"{count(n_bad, 'bad row')} left out; personalrm validate lists them")
