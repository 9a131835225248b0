"""Options of every command that may ask a language model, and what they open.

The cache of answers lies in the home folder; a price table, a persona
prompt and a key file are files of the user.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.cli.flags import add_flags, amount, from_flags, json_object
from personalrm.cli.options import ASKING, MODEL, shared_group
from personalrm.errors import BadFile, BadInput
from personalrm.wording import count

NAMES = {
    "schema": "JSON schema",
    "logprobs": "log-probabilities",
    "seed": "seed",
    "max_tokens": "max_tokens (max_completion_tokens is sent)",
    "temperature": "temperature",
    "roles": "system turns (in front of the user's)",
    "whole": "answers in one piece (they are streamed)",
    "usage": "stream_options",
}
"""What a server may refuse, as a reader knows it."""

if TYPE_CHECKING:
    from personalrm.judging.model import ModelJudge
    from personalrm.lm.batch import Caller
    from personalrm.lm.opening import ModelName


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model and all that belongs to it."""
    from personalrm.judging.options import JudgeOptions
    from personalrm.lm.settings import Budget, Limits, Retry

    add = shared_group(parser, MODEL).add_argument
    add("--model", help="openai/NAME, litellm/NAME, FILE.gguf, or NAME with --base-url (default: the embedded engine)")
    add("--base-url", metavar="URL", help="OpenAI-compatible server, such as http://localhost:8000/v1")
    add("--key-file", metavar="FILE", help="file with the API key (or set PERSONALRM_API_KEY, OPENAI_API_KEY)")
    add_flags(shared_group(parser, MODEL), Budget)
    add("--persona-prompt", metavar="FILE", help="persona prompt: ours or a published DSPy program")
    add("--retry-unscored", action="store_true", help="ask again what had no readable answer")
    asking = shared_group(parser, ASKING)  # what a first run can leave as it is
    add = asking.add_argument
    add_flags(asking, JudgeOptions, "temperature", "max_tokens", "n_samples", "max_prompt_tokens", "seed")
    add_flags(asking, Limits)
    add(
        "--timeout",
        type=amount,
        default=120.0,
        metavar="S",
        help="longest wait for a reply, from its turn on a busy server (default: %(default)s)",
    )
    add_flags(asking, Retry)
    add(
        "--gpu-layers",
        type=int,
        default=0,
        metavar="N",
        help="layers of a GGUF file that go onto a GPU, -1 for all (default: %(default)s)",
    )
    add("--header", type=json_object, metavar="JSON", help="extra HTTP headers")
    add("--body", type=json_object, metavar="JSON", help="extra fields of every request")
    add("--prices", metavar="FILE", help="price table of your own")


def model_name(options: argparse.Namespace) -> ModelName:
    """The model of the flags, and how it is reached."""
    from personalrm.lm.opening import ModelName

    headers, body = options.header or {}, options.body or {}
    key = getattr(options, "key", None) if options.key_file is None else None
    return ModelName(
        options.model,
        options.base_url,
        options.key_file,
        headers,
        body,
        options.timeout,
        key=key,
        gpu_layers=options.gpu_layers,
    )


def note_destinations(models: Iterable[ModelName]) -> None:
    """Before private text leaves this machine, say so once a host."""
    for host in dict.fromkeys(model.host for model in models if not model.is_on_this_machine):
        print(f"note: conversations will be sent to {host}", file=sys.stderr)


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
    from personalrm.cli.printing import EveryMinute
    from personalrm.lm.batch import Caller
    from personalrm.lm.cache import CACHE_FILE, Cache
    from personalrm.lm.opening import open_model
    from personalrm.lm.prices import price_of
    from personalrm.lm.settings import Budget, Limits, Retry

    name = model_name(options)
    lm = open_model(name)
    is_dry = getattr(options, "dry_run", False)
    if not (name.has_key or is_dry):
        raise BadInput(f"model {name.name!r} needs a key and OPENAI_API_KEY is not set; set it or pass --key-file")
    if not is_dry:
        note_destinations([name])
    cache = Cache(Path(options.home) / CACHE_FILE if keep else ":memory:")
    caller = Caller(
        lm,
        cache=cache,
        retry=from_flags(Retry, options, waits_for_server=waits),
        limits=from_flags(Limits, options),
        budget=from_flags(Budget, options),
        price=price_of(options.model, options.prices),
        retry_unscored=options.retry_unscored,
    )
    with caller, EveryMinute(caller.progress):
        yield caller
        if cache.set_aside is not None:
            print(f"warning: a damaged cache was set aside as {cache.set_aside}", file=sys.stderr)
        _warn(caller)
        if cache.n_damaged:
            damaged = count(cache.n_damaged, "damaged answer")
            print(f"warning: the cache had {damaged}, forgotten and asked again", file=sys.stderr)


@contextmanager
def open_judge(options: argparse.Namespace) -> Iterator[ModelJudge]:
    """A judge behind the model of the flags."""
    from personalrm.judging.model import ModelJudge
    from personalrm.judging.options import JudgeOptions
    from personalrm.preferences.persona_prompts import persona_prompt_from_json

    judge_options = from_flags(JudgeOptions, options)
    persona_prompt, path = None, options.persona_prompt
    if path is not None:
        persona_prompt = persona_prompt_from_json(read_text_file(path, "persona prompt"), where=path)
    with open_caller(options) as caller:
        yield ModelJudge(caller, judge_options, persona_prompt)


@contextmanager
def optional_judge(options: argparse.Namespace) -> Iterator[ModelJudge | None]:
    """`open_judge` where the flags name a model, else None."""
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


def read_text_file(path: str, what: str) -> str:
    """The text of a small file that a flag names.

    Raises:
        BadFile: If it is not there or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{what} {path!r} cannot be read ({type(error).__name__}); check the path") from None


def print_usage(caller: Caller) -> None:
    """Calls, tokens and cost by stage, what was lost on the way and what was left out, on stderr."""
    ledger = caller.ledger
    lines = [f"{'stage':10} {'calls':>8} {'cached':>8} {'unscored':>8} {'prompt tokens':>14} {'reply':>9}"]
    for stage, a in (*ledger.by_stage.items(), ("total", ledger.total)):
        counts = f"{a.n_calls:8,} {a.n_cached:8,} {a.n_unscored:8,} {a.prompt_tokens:14,} {a.completion_tokens:9,}"
        lines.append(f"{stage:10} {counts}")
    if caller.purse.cost:
        lines.append(f"cost {caller.purse.cost:.4f} USD at list prices")
    if ledger.faults:
        said = {kind: f" ({message!r})" for kind, message in ledger.said.items()}
        faults = ", ".join(f"{kind} {n}{said.get(kind, '')}" for kind, n in sorted(ledger.faults.items()))
        lines.append(f"survived or counted: {faults}")
    if caller.refused:
        lines.append(
            f"left out, since the server refuses it: {', '.join(sorted(NAMES[feature] for feature in caller.refused))}"
        )
    print("\n".join(lines), file=sys.stderr)


def _warn(caller: Caller) -> None:
    """Say on stderr what the server did to the answers that nobody could see in them."""
    ledger = caller.ledger
    if len(ledger.served_by) > 1:  # its answers may be of different minds
        counted = ", ".join(f"{name!r} {n:,}" for name, n in ledger.served_by.items())
        sentence = f"the server answered under several model names ({counted}); it may have changed"
        print(f"warning: {sentence}", file=sys.stderr)
    if ledger.n_cut:
        cut = f"the server cut {count(ledger.n_cut, 'prompt')}, of which it counted fewer tokens than there were words"
        advice = "raise its context length or pass a smaller --context-tokens, then clear the cache and run again"
        print(f"warning: {cut}; {advice}", file=sys.stderr)
