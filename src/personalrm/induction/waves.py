"""Waves: what an induction wants asked, and who asks it.

An induction is a generator. It yields a wave of questions that do not depend on each
other, is sent the answers, and in the end returns a personal prompt; it knows nothing
of networks, threads or other users. `run_together` drives many of them and hands the
judge everything that may be asked at once, so a judge with a server behind it can keep
that server busy without any change to the induction.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Judge, PersonaQuestion, Question, Verdict

USERS_AT_ONCE = 256


@dataclass(frozen=True, repr=False)
class Wave:
    """Questions of one user that may all be asked at the same moment."""

    step: str
    """What they are for: `bootstrap`, `trials`, `persona`; for progress and cost tables."""
    questions: tuple[Question, ...] = ()
    persona_questions: tuple[PersonaQuestion, ...] = ()


@dataclass(frozen=True, repr=False)
class Answers:
    """The judge's answers to a wave, in the order of its questions."""

    verdicts: list[Verdict] = field(default_factory=list)
    personas: list[Persona] = field(default_factory=list)


Induction = Generator[Wave, Answers, PersonalPrompt]


def run_together(
    inductions: Iterable[Induction], judge: Judge, *, users_at_once: int = USERS_AT_ONCE
) -> Iterator[PersonalPrompt]:
    """The prompts of the inductions, in their order, waves of different users asked together.

    Args:
        inductions: One generator a user; only `users_at_once` are held at a time.
        judge: Who answers.
        users_at_once: How many users' waves are put into one call of the judge.
    """
    remaining = iter(inductions)
    while batch := list(islice(remaining, users_at_once)):
        yield from _run_batch(batch, judge)


def _run_batch(batch: list[Induction], judge: Judge) -> list[PersonalPrompt]:
    finished: dict[int, PersonalPrompt] = {}
    waiting = {place: wave for place in range(len(batch)) if (wave := _advance(batch, place, None, finished))}
    while waiting:
        answers = _ask(list(waiting.values()), judge)
        waiting = {
            place: wave
            for place, answer in zip(list(waiting), answers, strict=True)
            if (wave := _advance(batch, place, answer, finished))
        }
    return [finished[place] for place in range(len(batch))]


def _advance(
    batch: list[Induction], place: int, answers: Answers | None, finished: dict[int, PersonalPrompt]
) -> Wave | None:
    """The next wave of one induction; its result goes into `finished` when there is none."""
    try:
        return next(batch[place]) if answers is None else batch[place].send(answers)
    except StopIteration as stop:
        finished[place] = stop.value
        return None


def _ask(waves: list[Wave], judge: Judge) -> list[Answers]:
    """All waves' questions in two calls, the answers dealt back to their waves."""
    verdicts = iter(judge.judge([question for wave in waves for question in wave.questions]))
    personas = iter(judge.describe([question for wave in waves for question in wave.persona_questions]))
    return [
        Answers(
            list(islice(verdicts, len(wave.questions))),
            list(islice(personas, len(wave.persona_questions))),
        )
        for wave in waves
    ]
