"""`show --ablate`: what each sentence of a persona does to judgements of the user's own choices."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from personalrm.cli.model_options import optional_judge, print_usage, refuse_model_flags_alone
from personalrm.cli.printing import bold, print_json, print_wrapped, shortened
from personalrm.errors import BadInput, UnknownUser
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.judging.ablation import Ablation, ClaimEffect
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Claim

UNSUPPORTED = "no supporting pair"

CHARACTERS = 240
"""Of a completion that is shown."""


def refuse_model_alone(options: argparse.Namespace) -> None:
    """A model has nothing to do in `show` without --ablate.

    Raises:
        BadInput: If one was named.
    """
    if options.model is not None:
        raise BadInput("--model of show judges for --ablate; name a file of choices or leave the flag out")
    refuse_model_flags_alone(options)


def run_ablation(prompt: PersonalPrompt, options: argparse.Namespace) -> int:
    """Test every sentence, print, and return the exit code."""
    from personalrm.judging.ablation import ablate_claims
    from personalrm.preferences.reading.files import read_pairs

    if options.form not in ("text", "json"):
        raise BadInput(f"--ablate prints text or JSON, not --as {options.form}; use --as json or leave it out")
    users = read_pairs(options.ablate)
    if prompt.user_id not in users:
        raise UnknownUser(f"{options.ablate!r} has no choice of user {prompt.user_id!r}; pass a file that has some")
    with optional_judge(options) as judge:
        found = ablate_claims(prompt, users[prompt.user_id].pairs, judge, max_calls=options.max_calls)
        if options.form == "json":
            print_json(_as_json(prompt, found, judge.name if judge else "embedded"))
        else:
            _print(prompt, found, "the embedded engine" if judge is None else f"model {judge.name}")
            if judge is not None:
                print_usage(judge.caller)
    return 3 if found.n_unscored or found.n_left_out else 0


def print_evidence(claim: Claim, shown: Sequence[PreferencePair] = ()) -> None:
    """The pairs behind a sentence, and the first of them whose text the prompt holds."""
    print_wrapped(f"for:     {', '.join(claim.supporting) or 'no pair'}", "      ")
    print_wrapped(f"against: {', '.join(claim.contradicting) or 'no pair'}", "      ")
    for pair in [pair for pair in shown if pair.id in claim.supporting][:1]:
        print_pair(pair, "      ")


def print_pair(pair: PreferencePair, indent: str) -> None:
    """A choice as people read it, shortened."""
    asked = shortened(pair.conversation[-1].content, CHARACTERS // 2)
    print_wrapped(f"such as {pair.id}, asked: {asked}", indent)
    print_wrapped(f"chose:    {shortened(pair.chosen, CHARACTERS)}", indent + "  ")
    print_wrapped(f"not this: {shortened(pair.rejected, CHARACTERS)}", indent + "  ")


def _print(prompt: PersonalPrompt, found: Ablation, by: str) -> None:

    print(
        bold(prompt.user_id) + f"  {count(found.n_pairs, 'choice')} judged by {by}, both orders, sentence by sentence"
    )
    if found.n_pairs:
        print(f"  with the whole persona: {found.n_right:g} of {found.n_pairs} right")
    for effect in found.effects:
        mark = "" if effect.claim.supporting else f"  ({UNSUPPORTED})"
        print_wrapped(f"- {effect.claim.text}{mark}", "  ")
        print_evidence(effect.claim)
        print_wrapped(f"in this file: {_measured(effect)}", "      ")
        print_wrapped(f"without it: {_change(effect)}", "      ")
    if found.n_seen:
        seen = f"{count(found.n_seen, 'choice')} of {found.n_pairs + found.n_unscored}"
        print_wrapped(f"note: the persona was made from {seen}; on these a sentence looks better than it is", "  ")
    for number, what in ((found.n_unscored, "unscored"), (found.n_left_out, "left out, --max-calls does not reach")):
        if number:
            print(f"  {count(number, 'choice')} {what}")


def _measured(effect: ClaimEffect) -> str:
    if effect.measured is None:
        return "the embedded engine cannot read this sentence, so its evidence is not measured"
    agree, disagree = len(effect.measured.supporting), len(effect.measured.contradicting)
    return f"by the embedded engine's reading {count(agree, 'choice')} for it, {disagree} against"


def _change(effect: ClaimEffect) -> str:
    if not effect.n_pairs:
        return "not measured, no choice was judged both ways"
    if effect.shift == 0.0:
        return "nothing changes"
    chance = f"P(real choice) {-100 * effect.shift:+.1f} points"
    lost = f"{count(effect.n_righted, 'judgement')} no longer right, {effect.n_wronged} newly right"
    return f"{chance} on average, {lost} of {effect.n_pairs}; p = {effect.adjusted_p:.3g} (Holm)"


def _as_json(prompt: PersonalPrompt, found: Ablation, judge: str) -> dict[str, Any]:
    return {
        "user_id": prompt.user_id,
        "judge": judge,
        "n_pairs": found.n_pairs,
        "n_right": found.n_right,
        "n_seen": found.n_seen,
        "n_unscored": found.n_unscored,
        "n_left_out": found.n_left_out,
        "claims": [_effect_json(effect) for effect in found.effects],
    }


def _effect_json(effect: ClaimEffect) -> dict[str, Any]:
    numbers = {"shift": effect.shift, "p": effect.p, "adjusted_p": effect.adjusted_p}
    return {
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
