"""A language model that compares personas with statements, through the one door, both orders each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from personalrm.errors import ModelUnavailable
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Reply, Request, Sampling, Schema
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Persona
from personalrm.prompts.replies import read_verdict, read_yes_or_no
from personalrm.prompts.validity import choice_question, match_question

MOST_CHARACTERS = 8_000
"""Of a statement or persona shown; longer ones are cut."""
Answer = float | None


def answer_schema(name: str, key: str, choices: Sequence[str]) -> Schema:
    """A reasoning and one of some words."""
    properties = {"reasoning": {"type": "string"}, key: {"type": "string", "enum": list(choices)}}
    return Schema(
        name,
        {"type": "object", "properties": properties, "required": ["reasoning", key], "additionalProperties": False},
    )


MATCH = answer_schema("match", "answer", ("yes", "no"))
CHOICE = answer_schema("statement", "choice", ("first", "second"))


class ModelMatcher:
    """Asks a model the two questions of `bench.validity`.

    Args:
        caller: Who asks.
        max_tokens: Of a reply.
        seed: Sent where the server takes one.
    """

    def __init__(self, caller: Caller, *, max_tokens: int = 512, seed: int = 0) -> None:
        self.caller = caller
        self._sampling = Sampling(0.0, max_tokens, seed)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.caller.lm.name

    def match(self, items: Sequence[tuple[Persona, str]]) -> list[Answer]:
        """Whether each persona and statement are about the same person; either text comes first once.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        orders = [(persona.text[:MOST_CHARACTERS], text[:MOST_CHARACTERS]) for persona, text in items]
        prompts = [match_question(*texts) for one in orders for texts in (one, one[::-1])]
        answers = self._ask(prompts, MATCH, lambda reply: float(read_yes_or_no(reply.text)))
        return list(_averaged(answers, is_swapped=False))

    def choose(self, items: Sequence[tuple[Persona, str, str]]) -> list[Answer]:
        """Whether the first statement is that of the persona's person; either statement comes first once.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        cut = [(persona.text[:MOST_CHARACTERS], a[:MOST_CHARACTERS], b[:MOST_CHARACTERS]) for persona, a, b in items]
        prompts = [choice_question(one[0], *texts) for one in cut for texts in (one[1:], one[:0:-1])]
        answers = self._ask(prompts, CHOICE, lambda reply: float(read_verdict(reply.text).choice == "first"))
        return list(_averaged(answers, is_swapped=True))

    def _ask(
        self, prompts: Sequence[tuple[Message, ...]], schema: Schema, read: Callable[[Reply], float]
    ) -> list[Answer]:
        def ask(messages: tuple[Message, ...]) -> Ask[float]:
            return Ask(lambda: Request(messages, self._sampling, schema, "validity"), read)

        outcomes = self.caller.ask_all([ask(messages) for messages in prompts])
        if any(outcome.is_stopped for outcome in outcomes):
            raise self.caller.stopped or ModelUnavailable("the run was stopped")
        return [outcome.value for outcome in outcomes]


def _averaged(answers: Sequence[Answer], *, is_swapped: bool) -> Iterator[Answer]:
    """One answer of both orders; in the second one the options of a choice are exchanged."""
    for one, other in zip(answers[::2], answers[1::2], strict=True):
        second = 1.0 - other if is_swapped and other is not None else other
        found = [answer for answer in (one, second) if answer is not None]
        yield sum(found) / len(found) if found else None
