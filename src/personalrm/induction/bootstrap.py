"""Bootstrap (Algorithm 1 of the paper): reasoning that reached the user's real choice."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from personalrm.induction.waves import Answers, Calls, Wave
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Question


def bootstrap(
    shown: Sequence[OrderedPair], persona: Persona | None = None
) -> Generator[Wave, Answers, list[Demonstration]]:
    """The pairs with the reasonings whose verdict equals the user's choice (rejection sampling).

    Args:
        shown: Train pairs in balanced order; one wave asks about all of them.
        persona: What is known of the user; None in step 1.
    """
    questions = tuple(replace(ask_about(ordered, persona), wants_hypotheses=True) for ordered in shown)
    answers = yield Wave("bootstrap", questions)
    return [
        Demonstration(ordered, verdict.reasoning)
        for ordered, verdict in zip(shown, answers.verdicts, strict=True)
        if verdict.choice == ordered.answer
    ]


def bootstrap_calls(n_train: int) -> Calls:
    """What `bootstrap` asks: every train pair once."""
    return Calls(questions=n_train)


def ask_about(
    ordered: OrderedPair, persona: Persona | None = None, demonstrations: tuple[Demonstration, ...] = ()
) -> Question:
    """The question an ordered pair stands for; the answer stays behind."""
    pair = ordered.pair
    return Question(pair.user_id, pair.conversation, ordered.first, ordered.second, persona, demonstrations)
