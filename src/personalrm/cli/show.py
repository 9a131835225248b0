"""Show what was learned about a user: persona, evidence, demonstrations.

Example: personalrm show u17 --evidence
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from personalrm.cli.options import add_config, add_home, positive
from personalrm.cli.printing import bold, print_json, print_wrapped, shortened

if TYPE_CHECKING:
    from personalrm.preferences.personal_prompts import PersonalPrompt

EXCERPT = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument("--evidence", action="store_true", help="list the pairs behind every sentence")
    parser.add_argument("--version-number", type=positive, metavar="N", help="an earlier version (default: the latest)")
    parser.add_argument(
        "--as",
        dest="form",
        choices=("text", "judge-messages", "generation-prompt", "markdown", "json"),
        default="text",
        help="form of the output (default: %(default)s)",
    )
    add_home(parser)
    add_config(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.store.home import Home

    prompt = Home(options.home).load(options.user, options.version_number)
    if options.form == "text":
        print_prompt(prompt, evidence=options.evidence)
    else:
        _print_form(prompt, options.form)
    return 0


def print_prompt(prompt: PersonalPrompt, *, evidence: bool) -> None:
    """The persona with its evidence, what it rests on, and what limits it."""
    from personalrm.judging.personal import unused_sentences
    from personalrm.stats.accuracy import count
    from personalrm.stylometry.claims import NOT_USED

    n_pairs = count(len(prompt.roles), "pair")
    print(bold(f"{prompt.user_id}") + f"  learned from {n_pairs} by the {prompt.judge} engine")
    unused = unused_sentences(prompt) if prompt.weights else []
    for claim in prompt.persona.claims:
        mark = f"  ({NOT_USED})" if claim.text in unused else ""
        print_wrapped(f"- {claim.text}{mark}", "  ")
        if evidence:
            print_wrapped(f"for:     {', '.join(claim.supporting) or 'no pair'}", "      ")
            print_wrapped(f"against: {', '.join(claim.contradicting) or 'no pair'}", "      ")
    if not prompt.persona.claims:
        print_wrapped(prompt.persona.note or "No persona.", "  ")
    if prompt.demonstrations:
        print(f"  demonstrations: {', '.join(d.shown.pair.id for d in prompt.demonstrations)}")
    for note in prompt.notes:
        print_wrapped(f"note: {note}", "  ")
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
