"""Tiny users with a known taste, and a judge that follows a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import PersonaQuestion, Question, Verdict

SHORT = "Take the early train and sit on the left for the view."
LONG = (
    "Take the early train and sit on the left for the view, and bring something to eat since the trolley is "
    "often empty by then; the second stop has a kiosk with good coffee and clean washrooms as well."
)


def tiny_pair(user_id: str = "u1", number: int = 0, *, likes_long: bool = False, **fields: object) -> PreferencePair:
    """A pair of one short and one long completion, both naming `number` so that pairs differ."""
    texts = (f"{SHORT} ({number})", f"{LONG} ({number})")
    chosen, rejected = texts[::-1] if likes_long else texts
    conversation = (Message("user", f"How do I get to the lake on day {number}?"),)
    row = {"pair_id": f"{user_id}-p{number}", "order_index": number} | fields
    return PreferencePair(user_id, conversation, chosen, rejected, **row)  # type: ignore[arg-type]  # fields of the row


def tiny_users(n_users: int = 6, n_pairs: int = 6) -> list[User]:
    """Users of whom every other one likes long answers."""
    return [
        User(f"u{number}", tuple(tiny_pair(f"u{number}", k, likes_long=number % 2 == 0) for k in range(n_pairs)))
        for number in range(n_users)
    ]


def write_pairs(path: Path, pairs: Iterable[PreferencePair]) -> Path:
    """The pairs as JSON lines in our own layout; returns the path."""
    path.write_text("".join(json.dumps(pair_to_dict(pair)) + "\n" for pair in pairs), encoding="utf-8")
    return path


class ScriptedJudge:
    """A judge that answers by a rule and remembers what it was asked.

    Args:
        answer: The verdict to a question; a plain `first` by default.
        persona: The persona it writes for everybody.
    """

    name = "scripted"

    def __init__(
        self, answer: Callable[[Question], Verdict] | None = None, persona: str = "Likes the shorter answer."
    ) -> None:
        self._answer = answer or (lambda question: Verdict("first", 1.0, "because it comes first"))
        self._persona = persona
        self.waves: list[list[Question]] = []
        """The questions of each call, in order."""
        self.persona_questions: list[PersonaQuestion] = []

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """What the rule says to each."""
        if questions:
            self.waves.append(list(questions))
        return [self._answer(question) for question in questions]

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        """The same persona for everybody."""
        self.persona_questions += questions
        return [Persona((Claim(self._persona),)) for _ in questions]


def prefer_shorter(question: Question) -> Verdict:
    """The rule of somebody who always likes the shorter completion."""
    if len(question.first) == len(question.second):
        return Verdict(None, 0.5, "same length")
    first = len(question.first) < len(question.second)
    return Verdict("first" if first else "second", 1.0 if first else 0.0, "it is shorter")
