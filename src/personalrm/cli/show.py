"""Show what was learned about a user: persona, evidence, demonstrations.

With --ablate every sentence is dropped once and the user's choices in a file are judged
again, with the model if one is named, else with the embedded engine.

Example: personalrm show u17 --evidence
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from personalrm.cli.ablation import UNSUPPORTED, print_evidence, refuse_model_alone, run_ablation
from personalrm.cli.flags import positive
from personalrm.cli.model_options import add_model
from personalrm.cli.options import add_config, add_home
from personalrm.cli.printing import bold, print_json, print_wrapped, shortened
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.personal_prompts import PersonalPrompt

EXCERPT = 160
BY_HAND = "written by hand"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("--evidence", action="store_true", help="list the pairs behind every sentence")
    parser.add_argument(
        "--ablate",
        metavar="FILE",
        help="preference pairs: what each sentence does to judgements of this user's choices",
    )
    parser.add_argument("--version-number", type=positive, metavar="N", help="an earlier version (default: the latest)")
    parser.add_argument(
        "--as",
        dest="form",
        choices=("text", "judge-messages", "generation-prompt", "markdown", "json"),
        default="text",
        help="form of the output (default: %(default)s)",
    )
    add_home(parser)
    add_model(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    prompt = Home(options.home).load(options.user, options.version_number)
    if options.ablate is not None:
        return run_ablation(prompt, options)
    refuse_model_alone(options)
    if options.form == "text":
        print_prompt(prompt, evidence=options.evidence)
    else:
        _print_form(prompt, options.form)
    return 0


def print_prompt(prompt: PersonalPrompt, *, evidence: bool) -> None:
    """The persona with its evidence, what it rests on, and what limits it."""
    from personalrm.judging.personal import strongest_leanings, unused_sentences
    from personalrm.stylometry.claims import NOT_USED

    n_pairs = count(len(prompt.roles), "pair")
    print(bold(f"{prompt.user_id}") + f"  learned from {n_pairs} by the {prompt.judge} engine")
    unused = unused_sentences(prompt) if prompt.weights else []
    for claim in prompt.persona.claims:
        marks = [BY_HAND] * (claim.text not in prompt.written) + [NOT_USED] * (claim.text in unused)
        marks += [UNSUPPORTED] * (not claim.supporting)
        mark = f"  ({'; '.join(marks)})" if marks else ""
        print_wrapped(f"- {claim.text}{mark}", "  ")
        if evidence:
            print_evidence(claim, [one.shown.pair for one in prompt.demonstrations])
    if not prompt.persona.claims:
        print_wrapped(prompt.persona.note or "No persona.", "  ")
        if leanings := strongest_leanings(prompt):
            print_wrapped(f"Verdicts lean towards {', '.join(leanings)}: too uncertain for a sentence.", "  ")
    if prompt.demonstrations:
        print(f"  demonstrations: {', '.join(d.shown.pair.id for d in prompt.demonstrations)}")
    for note in prompt.notes:
        print_wrapped(f"note: {note}", "  ")
    if n_loose := sum(not claim.supporting for claim in prompt.persona.claims):
        print(f"  {n_loose} of {count(len(prompt.persona.claims), 'sentence')} without a supporting pair")
    if unused:
        print(f"  {len(unused)} of {count(len(prompt.persona.claims), 'sentence')} {NOT_USED}")


def _print_form(prompt: PersonalPrompt, form: str) -> None:
    from personalrm.preferences.messages import Message
    from personalrm.preferences.prompt_json import prompt_to_json
    from personalrm.prompts.rendering import as_markdown, generation_prompt, judge_messages

    if form == "json":
        print(prompt_to_json(prompt), end="")
    elif form == "markdown":
        print(as_markdown(prompt))
    elif form == "generation-prompt":
        print(generation_prompt(prompt))
    else:
        question = (Message("user", "{the conversation}"),)
        messages = judge_messages(prompt, question, "{the first completion}", "{the second completion}")
        print_json([{"role": message.role, "content": message.content} for message in messages])


def excerpt(text: str) -> str:
    """The beginning of a completion, in one line."""
    return shortened(text, EXCERPT)
