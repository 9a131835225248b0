"""A personal prompt as people read it: its sentences, the pairs behind them, and what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from personalrm.cli.printing import bold, print_wrapped, shortened
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Claim

BY_HAND = "written by hand"
UNSUPPORTED = "no supporting pair"
CHARACTERS = 240
"""Of a completion that is shown."""


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
            print_evidence(claim, [demonstration.shown.pair for demonstration in prompt.demonstrations])
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
