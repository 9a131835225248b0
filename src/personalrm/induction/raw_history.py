"""Raw history: the choices themselves as the prompt, without reasoning or persona; no call is made."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.induction.draws import in_balanced_order, record_roles
from personalrm.induction.settings import InductionSettings
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.splits import split_context


def raw_history(user_id: str, pairs: Sequence[PreferencePair], settings: InductionSettings) -> PersonalPrompt:
    """All context pairs as plain demonstrations, in time order; a judge shows the nearest where they do not fit."""
    split = split_context(pairs)
    return PersonalPrompt(
        user_id,
        Persona(),
        tuple(Demonstration(ordered) for ordered in in_balanced_order(split.context, settings.seed)),
        judge="",
        variant="raw_history",
        settings=settings.as_json(),
        roles=record_roles(split),
    )
