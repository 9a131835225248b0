"""Options of every command that may ask a language model, and what they open.

The cache of answers is `cache.sqlite` in the home folder; a price table, a persona
prompt and a key file are files of the user.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.cli.options import ASKING, MODEL, non_negative, positive, shared_group
from personalrm.errors import BadFile, BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.judging.model import ModelJudge
    from personalrm.lm.batch import Caller
    from personalrm.preferences.persona_prompts import PersonaPrompt


def amount(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0 and finite")
    return number


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('it must be a JSON object such as \'{"name": "value"}\'')
    return value


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model and all that belongs to it."""
    add = shared_group(parser, MODEL).add_argument
    add("--model", help="openai/NAME, litellm/NAME, or NAME with --base-url (default: the embedded engine)")
    add("--base-url", metavar="URL", help="OpenAI-compatible server, such as http://localhost:8000/v1")
    add("--key-file", metavar="FILE", help="file with the API key (or set PERSONALRM_API_KEY, OPENAI_API_KEY)")
    add("--max-calls", type=positive, metavar="N", help="stop before more requests leave than this (default: no limit)")
    add("--max-cost", type=amount, metavar="USD", help="stop before more could be spent than this (default: no limit)")
    add("--persona-prompt", metavar="FILE", help="persona prompt: ours or a published DSPy program")
    add("--retry-unscored", action="store_true", help="ask again what had no readable answer")
    _add_asking(parser)


def _add_asking(parser: argparse.ArgumentParser) -> None:
    """What a first run can leave as it is."""
    add = shared_group(parser, ASKING).add_argument
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default: %(default)s)")
    add("--max-tokens", type=positive, default=1024, metavar="N", help="longest reply (default: %(default)s)")
    add("--samples", type=positive, default=1, metavar="K", help="replies a question (default: %(default)s)")
    add("--context-tokens", type=positive, default=32_000, metavar="N", help="longest prompt (default: %(default)s)")
    add("--model-seed", type=non_negative, default=0, metavar="N", help="seed sent to the server (default: 0)")
    add("--max-in-flight", type=positive, default=64, metavar="N", help="requests at one time (default: %(default)s)")
    add("--requests-per-minute", type=amount, metavar="N", help="rate limit to keep (default: none)")
    add("--tokens-per-minute", type=amount, metavar="N", help="rate limit to keep (default: none)")
    add("--timeout", type=amount, default=120.0, metavar="S", help="longest wait for a reply (default: %(default)s)")
    add("--attempts", type=positive, default=6, metavar="N", help="tries of a failing request (default: %(default)s)")
    add("--retry-pause", type=amount, default=0.5, metavar="S", help="first pause, doubled (default: %(default)s)")
    add("--header", type=json_object, metavar="JSON", help="extra HTTP headers")
    add("--body", type=json_object, metavar="JSON", help="extra fields of every request")
    add("--prices", metavar="FILE", help="price table of your own")


@contextmanager
def open_caller(options: argparse.Namespace, *, keep: bool = True, waits: bool = True) -> Iterator[Caller]:
    """The model of the flags, ready to be asked; closed at the end.

    Args:
        options: Of the command.
        keep: Whether answers go to the home folder's cache.
        waits: Whether a server that refuses connections is tried again.

    Raises:
        UnknownName: If the model's name says not enough, or its price is unknown and a cost ceiling is set.
    """
    from personalrm.lm.batch import Caller
    from personalrm.lm.cache import Cache
    from personalrm.lm.opening import ModelName, open_model
    from personalrm.lm.prices import price_of
    from personalrm.lm.settings import Budget, Limits, Retry

    name = ModelName(
        options.model,
        options.base_url,
        options.key_file,
        options.header or {},
        options.body or {},
        options.timeout,
    )
    lm = open_model(name)
    is_dry = getattr(options, "dry_run", False)
    if not (name.has_key or is_dry):
        raise BadInput(f"model {name.name!r} needs a key and OPENAI_API_KEY is not set; set it or pass --key-file")
    if not (name.is_on_this_machine or is_dry):
        print(f"note: conversations will be sent to {name.host}", file=sys.stderr)
    caller = Caller(
        lm,
        cache=Cache(Path(options.home) / "cache.sqlite" if keep else ":memory:"),
        retry=Retry(max_attempts=options.attempts, base_s=options.retry_pause, waits_for_server=waits),
        limits=Limits(options.max_in_flight, options.requests_per_minute, options.tokens_per_minute),
        budget=Budget(options.max_calls, options.max_cost),
        price=price_of(options.model, options.prices),
        retry_unscored=options.retry_unscored,
    )
    with caller:
        yield caller
        _tell_damage(caller)


def _tell_damage(caller: Caller) -> None:
    cache = caller.cache
    if cache is not None and cache.set_aside is not None:
        print(f"warning: a damaged cache was set aside as {cache.set_aside}", file=sys.stderr)
    if cache is not None and cache.n_damaged:
        print(
            f"warning: the cache had {count(cache.n_damaged, 'damaged answer')}, forgotten and asked again",
            file=sys.stderr,
        )


@contextmanager
def open_judge(options: argparse.Namespace) -> Iterator[ModelJudge]:
    """A judge behind the model of the flags."""
    from personalrm.judging.model import JudgeOptions, ModelJudge

    judge_options = JudgeOptions(
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        seed=options.model_seed,
        n_samples=options.samples,
        max_prompt_tokens=options.context_tokens,
    )
    persona_prompt = _persona_prompt(options.persona_prompt)
    with open_caller(options) as caller:
        yield ModelJudge(caller, judge_options, persona_prompt)


@contextmanager
def optional_judge(options: argparse.Namespace) -> Iterator[ModelJudge | None]:
    """`open_judge` where a model was named, else None."""
    if options.model is None:
        refuse_model_flags_alone(options)
        yield None
        return
    with open_judge(options) as judge:
        yield judge


def refuse_model_flags_alone(options: argparse.Namespace) -> None:
    """Flags that mean nothing without a model are a mistake, not a wish.

    Raises:
        BadInput: If one was given.
    """
    for name in ("base_url", "key_file", "max_calls", "max_cost", "persona_prompt"):
        if getattr(options, name, None) is not None:
            raise BadInput(f"--{name.replace('_', '-')} needs --model; name one or leave the flag out")


def _persona_prompt(path: str | None) -> PersonaPrompt | None:
    from personalrm.preferences.persona_prompts import persona_prompt_from_json

    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"persona prompt {path!r} cannot be read ({type(error).__name__}); check the path") from None
    return persona_prompt_from_json(text, where=path)


def print_usage(caller: Caller, stream: Any = None) -> None:
    """Calls, tokens and cost by stage, what was lost on the way, on stderr."""
    stream = stream or sys.stderr
    ledger = caller.ledger
    print(f"{'stage':10} {'calls':>8} {'cached':>8} {'unscored':>8} {'prompt tokens':>14} {'reply':>9}", file=stream)
    for stage, a in (*ledger.by_stage.items(), ("total", ledger.total)):
        counts = f"{a.n_calls:8,} {a.n_cached:8,} {a.n_unscored:8,} {a.prompt_tokens:14,} {a.completion_tokens:9,}"
        print(f"{stage:10} {counts}", file=stream)
    if caller.purse.cost:
        print(f"cost {caller.purse.cost:.4f} USD at list prices", file=stream)
    if ledger.faults:
        told = ", ".join(f"{kind} {n}" for kind, n in sorted(ledger.faults.items()))
        print(f"survived or counted: {told}", file=stream)


def warn_of_change(caller: Caller) -> None:
    """Say so on stderr when the server named more than one model: its answers may be of different minds."""
    names = caller.ledger.served_by
    if len(names) > 1:
        told = ", ".join(f"{name!r} {n:,}" for name, n in names.items())
        print(f"warning: the server answered under several model names ({told}); it may have changed", file=sys.stderr)
