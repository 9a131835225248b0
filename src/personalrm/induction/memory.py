"""Memory (paper 5.1): insights about the user, collected choice by choice into a running list."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.induction.draws import in_balanced_order, record_roles
from personalrm.induction.settings import InductionSettings
from personalrm.induction.waves import Calls, Induction, Wave
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.splits import split_context
from personalrm.preferences.verdicts import PersonaQuestion
from personalrm.wording import count

MOST_INSIGHTS = 5
"""Insights kept of one choice (paper 5.1: one to five)."""
MOST_CHARACTERS = 24_000
"""Characters of the running list; beyond it the oldest insights are forgotten and counted."""


def remember(user_id: str, pairs: Sequence[PreferencePair], settings: InductionSettings, *, judge: str) -> Induction:
    """The memory of one user: one call a context pair, in time order, since each sees the list so far.

    A pair whose reply cannot be read adds nothing and is counted; it does not end the walk.

    Args:
        user_id: Whose memory it is.
        pairs: Context pairs.
        settings: Only the seed of the order in which completions are shown is used.
        judge: Name of the judge that answers, kept in the prompt.
    """
    split = split_context(pairs)
    insights: list[Claim] = []
    n_missing = n_forgotten = 0
    for ordered in in_balanced_order(split.context, settings.seed):
        known = tuple(claim.text for claim in insights)
        question = PersonaQuestion(user_id, (Demonstration(ordered),), "insights", known)
        answers = yield Wave("memory", persona_questions=(question,), may_miss=True)
        fresh = answers.personas[0].claims[:MOST_INSIGHTS]
        n_missing += not fresh
        insights += fresh
        while sum(len(claim.text) for claim in insights) > MOST_CHARACTERS and len(insights) > 1:
            insights.pop(0)
            n_forgotten += 1
    notes = []
    if n_missing:
        notes.append(f"{n_missing} of {count(len(split.context), 'choice')} gave no insight that could be read")
    if n_forgotten:
        notes.append(f"the {n_forgotten} oldest insights were forgotten to keep the list short")
    return PersonalPrompt(
        user_id,
        Persona(tuple(insights)),
        judge=judge,
        variant="memory",
        settings=settings.as_json(),
        roles=record_roles(split),
        written=tuple(claim.text for claim in insights),
        notes=tuple(notes),
    )


def memory_calls(pairs: Sequence[PreferencePair]) -> Calls:
    """What `remember` asks: a text a context pair."""
    return Calls(texts=len(split_context(pairs).context))
