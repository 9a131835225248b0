"""The candidates of a search: sets of example personas that proved themselves, and instructions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personalrm.errors import BadInput, ModelUnavailable
from personalrm.induction.search.gain import Gain
from personalrm.induction.search.people import Subject, in_words
from personalrm.induction.search.settings import SearchSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Ask
from personalrm.lm.protocol import Request, Sampling
from personalrm.preferences.messages import Message
from personalrm.preferences.persona_prompts import ExamplePersona, PersonaPrompt
from personalrm.prompts.linting import is_order
from personalrm.prompts.proposing import (
    LONGEST,
    observe_messages,
    propose_messages,
    read_instruction,
    read_words,
    summarize_messages,
)

Examples = tuple[ExamplePersona, ...]
Read = Callable[[str], str]
AskTexts = Callable[[Sequence[tuple[Message, ...]], Read, Sequence[str]], list[str | None]]
"""Asks a model for texts: messages, how to read a reply, whose data is in each; None where no reply could be read."""
TEMPERATURE = 1.0
"""Of observations and proposals (MIPROv2's `init_temperature`); judging stays as the judge's options say."""
DRAWS = 200
"""Draws after which no further new set is looked for."""


def texts_from(judge: ModelJudge) -> AskTexts:
    """Texts of the same model; proposals differ in their number and tip, so equal requests are sent once as always."""
    sampling = Sampling(TEMPERATURE, judge.options.max_tokens, judge.options.seed)

    def ask(messages: Sequence[tuple[Message, ...]], read: Read, owners: Sequence[str]) -> list[str | None]:
        def asked(prompt: tuple[Message, ...], owner: str) -> Ask[str]:
            request = Request(prompt, sampling, None, "proposals", owner)
            return Ask(lambda: request, lambda reply: read(reply.text))

        outcomes = judge.caller.ask_all([asked(prompt, owner) for prompt, owner in zip(messages, owners, strict=True)])
        if any(outcome.is_stopped for outcome in outcomes):
            raise judge.caller.stopped or ModelUnavailable("the run was stopped")
        return [outcome.value for outcome in outcomes]

    return ask


@dataclass(frozen=True, repr=False)
class Bootstrapped:
    """Example personas, and what became of the train users."""

    examples: Examples
    """Most gained first."""
    n_tried: int
    n_unscored: int


def bootstrap_examples(
    subjects: Sequence[Subject], gain: Gain, start: PersonaPrompt, settings: SearchSettings
) -> Bootstrapped:
    """Personas of train users, written with the prompt we start from, that beat the default judge (appendix F)."""
    personas = gain.write(start, subjects)
    values = gain.of(personas, subjects)
    kept = [
        (value, ExamplePersona(in_words(subject.evidence), persona.text, subject.pairs))
        for subject, persona, value in zip(subjects, personas, values, strict=True)
        if value is not None and value > settings.threshold
    ]
    kept.sort(key=lambda example: -example[0])
    return Bootstrapped(tuple(example for _, example in kept), len(subjects), sum(value is None for value in values))


def draw_example_sets(examples: Examples, start: PersonaPrompt, settings: SearchSettings) -> list[Examples]:
    """Candidate sets: the one of the start, the empty one, the best few, and random ones of random sizes."""
    most = min(settings.max_examples, len(examples))
    sets: dict[Examples, None] = {start.examples: None, (): None}
    if most:
        sets.setdefault(examples[:most])
    generator = random.Random(f"example sets {settings.seed}")  # text seeds are hashed, the same on every machine
    for _ in range(DRAWS if most else 0):
        if len(sets) >= settings.n_example_sets:
            break
        sets.setdefault(tuple(generator.sample(examples, generator.randint(1, most))))
    return list(sets)[: settings.n_example_sets]


def check_instructions(given: Sequence[str]) -> tuple[str, ...]:
    """Candidates given by the caller, equal ones once.

    Raises:
        BadInput: If one is blank, too long, or gives orders to a judge.
    """
    for place, text in enumerate(given, 1):
        if not text.strip():
            raise BadInput(f"instruction candidate {place} is blank; leave it out")
        if len(text) > LONGEST:
            raise BadInput(f"instruction candidate {place} has {len(text)} characters; {LONGEST} are the most")
        if is_order(text):
            raise BadInput(f"instruction candidate {place} gives orders to a judge; describe how to write personas")
    return tuple(dict.fromkeys(text.strip() for text in given))


@dataclass(frozen=True, repr=False)
class Proposed:
    """Instruction candidates, the one we start from first."""

    instructions: tuple[str, ...]
    n_unreadable: int = 0
    """Replies that held no instruction that may be tried."""


def proposal_calls(settings: SearchSettings) -> int:
    """What `propose_instructions` asks at most: looks at users, a summary, and new instructions."""
    return settings.n_observed + 1 + (settings.n_instructions - 1)


def propose_instructions(
    ask: AskTexts | None,
    start: PersonaPrompt,
    given: Sequence[str],
    material: tuple[Sequence[Subject], Examples],
    settings: SearchSettings,
) -> Proposed:
    """The start's instruction, the caller's, and as many of the model's as may be tried beside them.

    Args:
        ask: Asks the model; None proposes nothing.
        start: The prompt to improve.
        given: Candidates of the caller.
        material: Train users to look at, and example personas to show.
        settings: Number of candidates and of users to look at.
    """
    known = dict.fromkeys((start.instruction, *given))
    n_wanted = settings.n_instructions - len(known)
    if ask is None or n_wanted <= 0:
        return Proposed(tuple(known)[: max(settings.n_instructions, 1 + len(given))])
    subjects, examples = material
    seen = subjects[: settings.n_observed]
    owners = [subject.user_id for subject in seen]
    looks = [observe_messages(subject.evidence) for subject in seen]
    notes = [note for note in ask(looks, lambda reply: read_words(reply, "observation"), owners) if note]
    summary = None
    if notes:
        [summary] = ask([summarize_messages(notes)], lambda reply: read_words(reply, "summary"), [""])
    messages = [propose_messages(n, start, summary or "", examples) for n in range(1, n_wanted + 1)]
    proposals = ask(messages, read_instruction, [""] * n_wanted)
    known |= dict.fromkeys(proposal for proposal in proposals if proposal)
    return Proposed(tuple(known), sum(proposal is None for proposal in proposals))
