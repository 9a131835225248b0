"""A model judge as the search needs it: one caller, so one cache, one budget and one log for everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.errors import ModelUnavailable
from personalrm.induction.search.candidates import AskTexts, Read
from personalrm.induction.search.gain import JudgeUnder
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Ask
from personalrm.lm.protocol import Reply, Request, Sampling
from personalrm.preferences.messages import Message
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Judge, PersonaQuestion, Question, Verdict

TEMPERATURE = 1.0
"""Of observations and proposals (MIPROv2's `init_temperature`); judging stays as the judge's options say."""


def judge_under(judge: ModelJudge) -> JudgeUnder:
    """The same model with another persona prompt."""

    def under(prompt: PersonaPrompt) -> Judge:
        return ModelJudge(judge.caller, judge.options, prompt)

    return under


def texts_from(judge: ModelJudge) -> AskTexts:
    """Texts of the same model; proposals differ in their number and tip, so equal requests are sent once as always."""

    def ask(messages: Sequence[tuple[Message, ...]], read: Read, owners: Sequence[str]) -> list[str | None]:
        asks = [
            Ask(lambda one=one, owner=owner: _request(one, owner, judge), lambda reply: _read(reply, read))  # type: ignore[misc]
            for one, owner in zip(messages, owners, strict=True)
        ]
        outcomes = judge.caller.ask_all(asks)
        if any(outcome.is_stopped for outcome in outcomes):
            raise judge.caller.stopped or ModelUnavailable("the run was stopped")
        return [outcome.value for outcome in outcomes]

    return ask


def _request(messages: tuple[Message, ...], owner: str, judge: ModelJudge) -> Request:
    sampling = Sampling(TEMPERATURE, judge.options.max_tokens, judge.options.seed)
    return Request(messages, sampling, None, "proposals", owner)


def _read(reply: Reply, read: Read) -> str:
    return read(reply.text)


@dataclass(frozen=True, repr=False)
class _Together:
    """Personas of one judge, verdicts of another."""

    writer: Judge
    decider: Judge

    @property
    def name(self) -> str:
        return f"{self.writer.name}, judged by {self.decider.name}"

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return self.decider.judge(questions)

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        return self.writer.describe(questions)


def decided_by(decider: Judge, writer_under: JudgeUnder) -> JudgeUnder:
    """Personas of one judge measured with another, such as the embedded engine, whose verdicts cost nothing."""
    return lambda prompt: _Together(writer_under(prompt), decider)
