"""Make one small call to a model server and report what it can do.

Example: personalrm check --model my-model --base-url http://localhost:8000/v1
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from personalrm.cli.flags import from_flags
from personalrm.cli.model_options import add_model, open_caller
from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json
from personalrm.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.judging.checking import check_model
    from personalrm.judging.model import ModelJudge
    from personalrm.judging.options import JudgeOptions

    if options.model is None:
        raise BadInput("there is no model to check; name one with --model")
    with open_caller(options, keep=False, waits=False) as caller:
        check = check_model(ModelJudge(caller, from_flags(JudgeOptions, options)))
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
        for number, what in (
            (check.context_tokens, "tokens of context, of prompt and reply together"),
            (check.n_slots, "requests answered at one time"),
        ):
            if number is not None:
                print(f"       {number:,} {what}")
        for name, value in sorted(check.limits.items()):
            print(f"       {name}: {value}")
    return 1 if check.problem else 0
