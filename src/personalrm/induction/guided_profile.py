"""Guided profile generation (Zhang 2024): a guiding question over the choices, then a short profile.

Two calls a user and no search: the cheap control for SynthesizeMe.
"""

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
    return PersonalPrompt(
        user_id,
        Persona(claims, answers.personas[0].note),
        judge=judge,
        variant="guided_profile",
        settings=settings.as_json(),
        roles=record_roles(split),
        written=tuple(claim.text for claim in claims),
    )


PROFILE_CALLS = Calls(texts=2)
"""What `guided_profile` asks of anybody: the digest and the profile."""
