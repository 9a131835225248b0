"""Waves: what an induction wants asked, and who asks it.

An induction is a generator. It yields a wave of questions that do not depend on each
other, is sent the answers, and in the end returns a personal prompt; it knows nothing
of networks, threads or other users. `run_together` drives many of them and hands the
judge everything that may be asked at once, so a judge with a server behind it can keep
that server busy without any change to the induction.
"""

from __future__ import annotations

import queue
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from personalrm.judging.model import Judged, ModelJudge
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Judge, PersonaQuestion, Question, Verdict

USERS_AT_ONCE = 256
"""Users whose waves are put into one call of the judge."""


@dataclass(frozen=True, repr=False)
class Wave:
    """Questions of one user that may all be asked at the same moment."""

    step: str
    """What they are for: `bootstrap`, `trials`, `persona`; for progress and cost tables."""
    questions: tuple[Question, ...] = ()
    persona_questions: tuple[PersonaQuestion, ...] = ()
    may_miss: bool = False
    """Whether the induction goes on without a persona that could not be read; it gets an empty one with a note."""


@dataclass(frozen=True, repr=False)
class Answers:
    """The judge's answers to a wave, in the order of its questions."""

    verdicts: list[Verdict] = field(default_factory=list)
    personas: list[Persona] = field(default_factory=list)


@dataclass(frozen=True)
class Calls:
    """How much an induction asks at most: what `fit --dry-run` and `bench run --dry-run` are made of.

    Every induction has a function beside it that counts its calls before anything is asked.
    """

    questions: int = 0
    """Questions to a judge; each is asked as often as the judge draws samples."""
    texts: int = 0
    """Personas and what leads to one; each is asked once."""

    def __add__(self, other: Calls) -> Calls:
        return Calls(self.questions + other.questions, self.texts + other.texts)

    def total(self, n_samples: int) -> int:
        """Calls of a judge that draws so many samples a question."""
        return self.questions * n_samples + self.texts


Induction = Generator[Wave, Answers, PersonalPrompt]


def run_together(inductions: Iterable[Induction], judge: Judge) -> Iterator[PersonalPrompt]:
    """The prompts of the inductions, in their order, waves of different users asked together.

    Args:
        inductions: One generator a user; only `USERS_AT_ONCE` are held at a time.
        judge: Who answers.
    """
    remaining = iter(inductions)
    while batch := list(islice(remaining, USERS_AT_ONCE)):
        prompts: dict[int, PersonalPrompt] = {}
        answers: dict[int, Answers | None] = dict.fromkeys(range(len(batch)))
        while answers:
            waves: dict[int, Wave] = {}
            for place, answer in answers.items():
                try:
                    waves[place] = next(batch[place]) if answer is None else batch[place].send(answer)
                except StopIteration as stop:
                    prompts[place] = stop.value
            answers = {}
            if waves:
                # All waves' questions in two calls, the answers dealt back to their waves.
                verdicts = iter(judge.judge([question for wave in waves.values() for question in wave.questions]))
                personas = iter(
                    judge.describe([question for wave in waves.values() for question in wave.persona_questions])
                )
            for place, wave in waves.items():
                answers[place] = Answers(
                    list(islice(verdicts, len(wave.questions))), list(islice(personas, len(wave.persona_questions)))
                )
        yield from (prompts[place] for place in range(len(batch)))


@dataclass(frozen=True, repr=False)
class Finished:
    """What became of one induction."""

    place: int
    """Which of the inductions, counted from 0."""
    prompt: PersonalPrompt | None
    """None when it could not be made."""
    reason: str = ""
    """Why not; `stopped` when the run ended first."""
    unscored: tuple[str, ...] = ()
    """Why verdicts are missing, one entry each."""


STOPPED = "stopped"


def run_overlapping(inductions: Iterable[Induction], judge: ModelJudge, *, users_at_once: int) -> Iterator[Finished]:
    """The inductions as they finish, each going on as soon as its own wave is answered.

    Args:
        inductions: One generator a user; a new one begins when another finishes.
        judge: Who answers, in other threads, so that its server is never idle.
        users_at_once: How many are under way at one time.
    """
    remaining = enumerate(inductions)
    answered: queue.SimpleQueue[tuple[int, Judged]] = queue.SimpleQueue()
    running: dict[int, Running] = {}

    def advance(place: int, answers: Answers | None) -> Finished | None:
        under_way = running[place]
        try:
            wave = next(under_way.induction) if answers is None else under_way.induction.send(answers)
        except StopIteration as stop:
            del running[place]
            return Finished(place, stop.value, unscored=tuple(under_way.unscored))
        under_way.may_miss = wave.may_miss
        judge.start(wave.step, wave.questions, wave.persona_questions, lambda judged: answered.put((place, judged)))
        return None

    while True:
        while len(running) < users_at_once and (following := next(remaining, None)) is not None:
            place, induction = following
            running[place] = Running(induction)
            if (finished := advance(place, None)) is not None:
                yield finished
        if not running:
            return
        place, judged = answered.get()
        answers, reason = running[place].take(judged)
        if answers is None:
            running.pop(place).induction.close()
            yield Finished(place, None, reason)
        elif (finished := advance(place, answers)) is not None:
            yield finished


@dataclass
class Running:
    """An induction under way, and why verdicts of it are missing."""

    induction: Generator[Wave, Answers, Any]
    unscored: list[str] = field(default_factory=list)
    may_miss: bool = False

    def take(self, judged: Judged) -> tuple[Answers | None, str]:
        """The answers to go on with, or None and why there are none."""
        if judged.is_stopped:
            return None, STOPPED
        self.unscored += [verdict.unscored_reason for verdict in judged.verdicts if not verdict.is_scored]
        if None in judged.personas and not self.may_miss:
            return None, f"no persona: {next(filter(None, judged.reasons), 'no reply')}"
        return Answers(judged.verdicts, [persona or Persona(note="not read") for persona in judged.personas]), ""
