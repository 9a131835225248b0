"""Distillation (paper 6.3): a persona prompt found with a large model, measured on a small one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from personalrm.induction.search.gain import Gain, judge_under
from personalrm.induction.search.people import gather
from personalrm.induction.search.settings import SearchSettings
from personalrm.judging.model import ModelJudge
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.splits import UserSplit


@dataclass(frozen=True)
class Transfer:
    """How a model does with personas it wrote by a prompt that another model's search found."""

    model: str
    default_accuracy: float | None
    """Knowing nobody, mean over dev users."""
    start_score: float | None
    """Gain of the prompt the search began with, mean over dev users that were scored."""
    score: float | None
    """Gain of the prompt the search found."""
    n_dev_users: int
    n_unscored: int
    """Dev users that could not be scored with the found prompt."""

    def as_json(self) -> dict[str, Any]:
        """The transfer as plain values."""
        return dict(vars(self))


def measure_transfer(
    dev: Sequence[tuple[str, UserSplit]],
    student: ModelJudge,
    best: PersonaPrompt,
    settings: SearchSettings,
    *,
    start: PersonaPrompt,
) -> Transfer:
    """The student on the dev users, with its own reasonings and its own personas, by either prompt.

    Args:
        dev: The dev users of the search.
        student: The model that is to use the prompt.
        best: What the teacher's search found.
        settings: Of the search.
        start: What it began with.
    """
    subjects = gather(dev, student, settings, on_target=True)
    gain = Gain(judge_under(student), start)
    means, n_unscored = [], 0
    for prompt in (start, best):
        values = gain.of(gain.write(prompt, subjects), subjects)
        scored = [value for value in values if value is not None]
        means.append(sum(scored) / len(scored) if scored else None)
        n_unscored = len(values) - len(scored)
    return Transfer(student.name, gain.accuracy(subjects), means[0], means[1], len(subjects), n_unscored)


def with_transfer(prompt: PersonaPrompt, transfer: Transfer) -> PersonaPrompt:
    """The prompt, whose provenance says how the student did with it."""
    return replace(prompt, provenance={**prompt.provenance, "student": transfer.as_json()})
