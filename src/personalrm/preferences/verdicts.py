"""A verdict, and the protocol of whatever gives verdicts.

A judge answers questions of two kinds, many at once: which of two completions would
this user prefer, and what kind of person is this. `Question` and `PersonaQuestion`
are everything a judge may know; targets are not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from personalrm.errors import BadInput
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import Choice
from personalrm.preferences.personas import Persona


@dataclass(frozen=True, repr=False)
class Verdict:
    """First, second, or unscored with a reason."""

    choice: Choice | None
    """The preferred side; None when it could not be decided (see `unscored_reason`) or is an exact tie."""
    probability: float | None = None
    """Probability in [0, 1] that the first completion is preferred; None when unscored."""
    reasoning: str = ""
    """Why, in plain words."""
    unscored_reason: str = ""
    """Why there is no verdict; empty when there is one."""
    too_few_pairs: bool = False
    """True when the user has too few pairs for anything personal, so the population decided."""
    positions_agree: bool | None = None
    """Whether both orders named the same completion; None when only one order was judged."""
    lost_order: str = ""
    """Why one of two orders has no verdict, so that the other decided alone; empty when none was lost."""

    def __post_init__(self) -> None:
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise BadInput(f"probability must lie in [0, 1], got {self.probability!r}")

    @property
    def is_scored(self) -> bool:
        """Whether the judge gave a verdict (an exact tie is one)."""
        return not self.unscored_reason

    def __repr__(self) -> str:
        return f"Verdict(choice={self.choice!r}, probability={self.probability!r}, is_scored={self.is_scored})"


def verdict_from_probability(probability: float, reasoning: str = "", *, too_few_pairs: bool = False) -> Verdict:
    """The verdict a probability stands for; exactly 0.5 is a tie, which has no choice."""
    choice: Choice | None = "first" if probability > 0.5 else "second" if probability < 0.5 else None
    return Verdict(choice, probability, reasoning, too_few_pairs=too_few_pairs)


@dataclass(frozen=True, repr=False)
class Question:
    """Which of two completions would the user prefer, given what is known of them."""

    user_id: str
    conversation: Conversation
    first: str
    second: str
    persona: Persona | None = None
    """What is known of the user in words; None when nothing is."""
    demonstrations: tuple[Demonstration, ...] = ()
    """Choices of the user to learn from, in a stable order."""
    wants_hypotheses: bool = False
    """Whether one to three hypotheses about the user belong to the reasoning (bootstrap, algorithm 1)."""

    def __repr__(self) -> str:
        return f"Question(user_id={self.user_id!r}, demonstrations={len(self.demonstrations)})"


PersonaTask = Literal["persona", "insights", "digest", "profile"]
"""What is to be written: a persona; insights from one more choice (memory); what the choices have in common
(digest); a short profile from such a digest."""


@dataclass(frozen=True, repr=False)
class PersonaQuestion:
    """What does this user like, given these choices and the reasonings about them."""

    user_id: str
    demonstrations: tuple[Demonstration, ...]
    task: PersonaTask = "persona"
    known: tuple[str, ...] = ()
    """Sentences written of the user before: earlier insights, or the digest a profile is made of."""

    def __repr__(self) -> str:
        return f"PersonaQuestion(user_id={self.user_id!r}, demonstrations={len(self.demonstrations)})"


class Judge(Protocol):
    """Whatever decides between two completions and describes a user.

    Both methods take everything that may be asked at once and answer in the same
    order. A judge never raises for one bad item: that verdict is unscored, with a reason.
    """

    @property
    def name(self) -> str:
        """What reports and saved prompts call it, such as `embedded` or a model's name."""
        ...

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question, in order."""
        ...

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        """One persona a question, in order."""
        ...
