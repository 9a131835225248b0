"""What a survey says of a user, as the persona of the demographics judge (paper 5.1, after Dong et al. 2024)."""

from __future__ import annotations

from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.reading.surveys import Survey
from personalrm.prompts.rendering import demographics_sentence


def describe_demographics(survey: Survey) -> Persona:
    """One sentence with the survey's demographic fields; an empty persona where there are none."""
    sentence = demographics_sentence(survey.demographics)
    return Persona((Claim(sentence),)) if sentence else Persona(note="the survey has no demographic field")
