"""Show what was learned about a user: persona, evidence, demonstrations.

With --ablate every sentence is dropped once and the user's choices in a file are judged
again, with the model if one is named, else with the embedded engine.

Example: personalrm show u17 --evidence
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import positive
from personalrm.cli.model_options import add_model, optional_judge, print_usage, refuse_model_flags_alone
from personalrm.cli.options import add_output
from personalrm.cli.printing import UNSUPPORTED, bold, print_evidence, print_json, print_prompt, print_wrapped
from personalrm.errors import BadInput, UnknownUser
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.judging.ablation import Ablation, ClaimEffect
    from personalrm.preferences.personal_prompts import PersonalPrompt


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
    add_model(parser)
    add_output(parser, "home", "database", "config")


def run(options: argparse.Namespace) -> int:
    from personalrm.preferences.messages import Message
    from personalrm.preferences.prompt_json import prompt_to_json
    from personalrm.prompts.rendering import as_markdown, generation_prompt, judge_messages
    from personalrm.store.reading import PeopleReader

    prompt = PeopleReader(options.home, options.database).load(options.user, options.version_number)
    if options.ablate is not None:
        return _ablate(prompt, options)
    if options.model is not None:
        raise BadInput("--model of show judges for --ablate; name a file of choices or leave the flag out")
    refuse_model_flags_alone(options)
    if options.form == "text":
        print_prompt(prompt, evidence=options.evidence)
    elif options.form == "json":
        print(prompt_to_json(prompt), end="")
    elif options.form == "markdown":
        print(as_markdown(prompt))
    elif options.form == "generation-prompt":
        print(generation_prompt(prompt))
    else:
        question = (Message("user", "{the conversation}"),)
        messages = judge_messages(prompt, question, "{the first completion}", "{the second completion}")
        print_json([{"role": message.role, "content": message.content} for message in messages])
    return 0


def _ablate(prompt: PersonalPrompt, options: argparse.Namespace) -> int:
    """Test every sentence, print, and return the exit code."""
    from personalrm.judging.ablation import ablate_claims
    from personalrm.preferences.reading.files import read_pairs

    if options.form not in ("text", "json"):
        raise BadInput(f"--ablate prints text or JSON, not --as {options.form}; use --as json or leave it out")
    users = read_pairs(options.ablate)
    if prompt.user_id not in users:
        raise UnknownUser(f"{options.ablate!r} has no choice of user {prompt.user_id!r}; pass a file that has some")
    with optional_judge(options) as judge:
        ablation = ablate_claims(prompt, users[prompt.user_id].pairs, judge, max_calls=options.max_calls)
        if options.form == "json":
            print_json(_ablation_json(prompt, ablation, judge.name if judge else "embedded"))
        else:
            _print_ablation(prompt, ablation, "the embedded engine" if judge is None else f"model {judge.name}")
            if judge is not None:
                print_usage(judge.caller)
    return 3 if ablation.n_unscored or ablation.n_left_out else 0


def _print_ablation(prompt: PersonalPrompt, ablation: Ablation, by: str) -> None:
    choices = count(ablation.n_pairs, "choice")
    print(bold(prompt.user_id) + f"  {choices} judged by {by}, both orders, sentence by sentence")
    if ablation.n_pairs:
        print(f"  with the whole persona: {ablation.n_right:g} of {ablation.n_pairs} right")
    for effect in ablation.effects:
        mark = "" if effect.claim.supporting else f"  ({UNSUPPORTED})"
        print_wrapped(f"- {effect.claim.text}{mark}", "  ")
        print_evidence(effect.claim)
        measured = "the embedded engine cannot read this sentence, so its evidence is not measured"
        if effect.measured is not None:
            agree, disagree = len(effect.measured.supporting), len(effect.measured.contradicting)
            measured = f"by the embedded engine's reading {count(agree, 'choice')} for it, {disagree} against"
        print_wrapped(f"in this file: {measured}", "      ")
        print_wrapped(f"without it: {_change(effect)}", "      ")
    if ablation.n_seen:
        seen = f"{count(ablation.n_seen, 'choice')} of {ablation.n_pairs + ablation.n_unscored}"
        print_wrapped(f"note: the persona was made from {seen}; on these a sentence looks better than it is", "  ")
    if ablation.n_unscored:
        print(f"  {count(ablation.n_unscored, 'choice')} unscored")
    if ablation.n_left_out:
        print(f"  {count(ablation.n_left_out, 'choice')} left out, --max-calls does not reach")


def _change(effect: ClaimEffect) -> str:
    if not effect.n_pairs:
        return "not measured, no choice was judged both ways"
    if effect.shift == 0.0:
        return "nothing changes"
    chance = f"P(real choice) {-100 * effect.shift:+.1f} points"
    lost = f"{count(effect.n_righted, 'judgement')} no longer right, {effect.n_wronged} newly right"
    return f"{chance} on average, {lost} of {effect.n_pairs}; p = {effect.adjusted_p:.3g} (Holm)"


def _ablation_json(prompt: PersonalPrompt, ablation: Ablation, judge: str) -> dict[str, Any]:
    claims = []
    for effect in ablation.effects:
        numbers = {"shift": effect.shift, "p": effect.p, "adjusted_p": effect.adjusted_p}
        claims.append(
            {
                "text": effect.claim.text,
                "supporting": list(effect.claim.supporting),
                "contradicting": list(effect.claim.contradicting),
                "is_supported": bool(effect.claim.supporting),
                "n_agreeing": None if effect.measured is None else len(effect.measured.supporting),
                "n_disagreeing": None if effect.measured is None else len(effect.measured.contradicting),
                "n_pairs": effect.n_pairs,
                "n_righted": effect.n_righted,
                "n_wronged": effect.n_wronged,
                **{name: None if math.isnan(value) else value for name, value in numbers.items()},
            }
        )
    counts = {name: getattr(ablation, name) for name in ("n_pairs", "n_right", "n_seen", "n_unscored", "n_left_out")}
    return {"user_id": prompt.user_id, "judge": judge, **counts, "claims": claims}
