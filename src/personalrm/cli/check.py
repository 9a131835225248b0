"""Make one small call to a model server and report what it can do.

Example: personalrm check --model my-model --base-url http://localhost:8000/v1
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from personalrm.cli.flags import from_flags
from personalrm.cli.model_options import add_model, open_caller
from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json
from personalrm.errors import BadInput
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.lm.local.model import LocalModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.judging.checking import check_model
    from personalrm.judging.model import ModelJudge
    from personalrm.judging.options import JudgeOptions
    from personalrm.lm.local.model import LocalModel

    if options.model is None:
        raise BadInput("there is no model to check; name one with --model")
    with open_caller(options, keep=False, waits=False) as caller:
        lm, check = caller.lm, check_model(ModelJudge(caller, from_flags(JudgeOptions, options)))
    if options.json:
        print_json(asdict(check))
    else:
        print(f"{check.model}  " + (f"gives no usable reply: {check.problem}" if check.problem else "answers"))
        for does, what in (
            ()
            if check.problem
            else (
                (check.takes_schema, "keeps to a JSON schema"),
                (check.gives_logprobs, "gives log-probabilities"),
                (check.takes_seed, "takes a seed"),
                (check.takes_system, "takes a system turn"),
                (check.counts_tokens, "counts tokens"),
            )
        ):
            print(f"  {'yes' if does else 'no ':3}  {what}")
        if check.context_tokens is not None:
            print(f"       {check.context_tokens:,} tokens of context, of prompt and reply together")
        if check.n_slots is not None:
            print(f"       {count(check.n_slots, 'request')} answered at one time")
        if isinstance(lm, LocalModel):
            _print_file(lm)
        for name, value in sorted(check.limits.items()):
            print(f"       {name}: {value}")
    return 1 if check.problem else 0


def _print_file(lm: LocalModel) -> None:
    """How a GGUF file is run on this machine."""
    facts, size = lm.facts, lm.size
    print(f"       run here with {count(size.n_threads, 'thread')}, {facts.n_bytes / 2**20:,.0f} MiB of weights")
    if size.context_tokens < facts.context_tokens:
        print(f"       (it was made for {facts.context_tokens:,} tokens of context)")
    if not facts.has_chat_template:
        print("       has no chat template: a base model, which was not tuned to answer")
