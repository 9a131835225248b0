"""What SynthesizeMe is held against: the choices themselves, a memory of insights, a guided profile.

Raw history makes no call, memory (paper 5.1) one a context pair, guided profile generation
(Zhang 2024) two a user: cheap controls without any search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from personalrm.induction.draws import in_balanced_order, record_roles
from personalrm.induction.settings import InductionSettings
from personalrm.induction.waves import Calls, Induction, Wave
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.splits import UserSplit, split_context
from personalrm.preferences.verdicts import PersonaQuestion
from personalrm.wording import count

MOST_INSIGHTS = 5
"""Insights kept of one choice (paper 5.1: one to five)."""
MOST_CHARACTERS = 24_000
"""Of the running list of insights; beyond it the oldest are forgotten and counted."""
PROFILE_CALLS = Calls(texts=2)
"""What `guided_profile` asks of anybody: the digest and the profile."""


def raw_history(user_id: str, pairs: Sequence[PreferencePair], settings: InductionSettings) -> PersonalPrompt:
    """All context pairs as plain demonstrations, in time order; a judge shows the nearest where they do not fit."""
    split = split_context(pairs)
    shown = tuple(Demonstration(ordered) for ordered in in_balanced_order(split.context, settings.seed))
    prompt = _prompt(user_id, split, settings, Persona(), judge="", variant="raw_history")
    return replace(prompt, demonstrations=shown)


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
    prompt = _prompt(user_id, split, settings, Persona(tuple(insights)), judge=judge, variant="memory")
    return replace(prompt, notes=tuple(notes))


def memory_calls(pairs: Sequence[PreferencePair]) -> Calls:
    """What `remember` asks: a text a context pair."""
    return Calls(texts=len(split_context(pairs).context))


def guided_profile(
    user_id: str, pairs: Sequence[PreferencePair], settings: InductionSettings, *, judge: str
) -> Induction:
    """The profile of one user: the digest of all choices, then the profile from the digest alone.

    A sentence of the profile names the observations it rests on; its evidence is theirs.

    Args:
        user_id: Whose profile it is.
        pairs: Context pairs.
        settings: Only the seed of the order in which completions are shown is used.
        judge: Name of the judge that answers, kept in the prompt.
    """
    split = split_context(pairs)
    shown = tuple(Demonstration(ordered) for ordered in in_balanced_order(split.context, settings.seed))
    answers = yield Wave("digest", persona_questions=(PersonaQuestion(user_id, shown, "digest"),))
    digest = answers.personas[0].claims
    question = PersonaQuestion(user_id, (), "profile", tuple(claim.text for claim in digest))
    answers = yield Wave("profile", persona_questions=(question,))

    def evidence(numbers: Sequence[str]) -> tuple[str, ...]:
        """The pairs behind the observations of these numbers."""
        return tuple(dict.fromkeys(pair_id for n in numbers for pair_id in digest[int(n) - 1].supporting))

    claims = tuple(
        Claim(claim.text, evidence(claim.supporting), evidence(claim.contradicting))
        for claim in answers.personas[0].claims
    )
    persona = Persona(claims, answers.personas[0].note)
    return _prompt(user_id, split, settings, persona, judge=judge, variant="guided_profile")


def _prompt(
    user_id: str, split: UserSplit, settings: InductionSettings, persona: Persona, *, judge: str, variant: str
) -> PersonalPrompt:
    return PersonalPrompt(
        user_id,
        persona,
        judge=judge,
        variant=variant,
        settings=settings.as_json(),
        roles=record_roles(split),
        written=tuple(claim.text for claim in persona.claims),
    )
