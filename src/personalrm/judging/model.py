"""A language model as judge: builds the prompts, reads the replies, leaves the asking to `lm/`.

The probability of a verdict comes from the log-probabilities of its token. Where all
demonstrations together are too long for one question, those nearest to it are shown.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path
from queue import Queue
from typing import Generic, TypeVar

from personalrm.errors import ModelUnavailable
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Ask, Caller, Outcome
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.prices import CHARACTERS_A_TOKEN
from personalrm.lm.protocol import LM, Reply, Request, Sampling, Schema, TokenChances, spelt_out
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import PersonaQuestion, Question, Verdict, verdict_from_probability
from personalrm.prompts.rendering import (
    describing_messages,
    judge_instructions,
    pair_messages,
    shipped_persona_prompt,
)
from personalrm.prompts.replies import read_persona, read_verdict

_WORD = re.compile(r"[^\W_]{3,}")


def nearest_demonstrations(
    conversation: Conversation, demonstrations: Sequence[Demonstration], max_characters: int
) -> tuple[Demonstration, ...]:
    """As many demonstrations as fit, those with the most similar conversations first, in their given order.

    Similarity is lexical: shared words, weighted by how rare they are among the
    demonstrations, over the length of both (cosine). Equally similar ones: the later
    first, since tastes change.
    """
    words = [_words(demonstration.shown.pair.conversation) for demonstration in demonstrations]
    n_with = Counter(word for counts in words for word in counts)

    def weighted(counts: Counter[str]) -> tuple[dict[str, float], float]:
        """The words' counts by rarity, a word in every demonstration weighing next to nothing; and their length."""
        vector = {
            word: times * (math.log((1 + len(words)) / (1 + n_with[word])) + 1e-9) for word, times in counts.items()
        }
        return vector, math.sqrt(sum(value**2 for value in vector.values()))

    asked = _words(conversation)
    asked_vector, asked_length = weighted(asked)
    likeness = []
    for counts in words:
        vector, length = weighted(counts)
        shared = sum(asked_vector[word] * vector[word] for word in asked.keys() & counts.keys())
        likeness.append(shared / (asked_length * length) if shared else 0.0)
    chosen, left = set(), max_characters
    for place in sorted(range(len(demonstrations)), key=lambda place: (-likeness[place], -place)):
        size = n_characters(demonstrations[place])
        if size <= left:
            chosen.add(place)
            left -= size
    return tuple(demonstration for place, demonstration in enumerate(demonstrations) if place in chosen)


def n_characters(demonstration: Demonstration) -> int:
    """Length of a demonstration in a prompt, tags aside."""
    pair = demonstration.shown.pair
    turns = sum(len(turn.content) for turn in pair.conversation)
    return turns + len(pair.chosen) + len(pair.rejected) + len(demonstration.reasoning or "")


def _words(conversation: Conversation) -> Counter[str]:
    return Counter(word for turn in conversation for word in _WORD.findall(turn.content.lower()))


Value = TypeVar("Value")
MOST = 256


class Recent(Generic[Value]):
    """The latest values by the very objects they were made of; those must not change.

    Objects are told apart by identity, which costs nothing; equal ones may be made twice.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, ...], tuple[tuple[object, ...], Value]] = OrderedDict()

    def of(self, objects: tuple[object, ...], make: Callable[[], Value]) -> Value:
        """The value of these objects, made now if it is not there."""
        key = tuple(map(id, objects))
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = kept = (objects, make())  # the objects too, so that their ids stay theirs
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return kept[1]


TAIL = 16
"""Characters at the end of a reply by which its tokens are known; a longer piece may hold what tokens split."""
_VALUE = re.compile(r"[\"']?(?:choice|verdict|preference|answer)[\"']?\s*[:=]\s*[\"']?", re.IGNORECASE)
_SIDES = {"first": ("first", "a", "1"), "second": ("second", "b", "2")}


def chance_of_first(tokens: Sequence[TokenChances]) -> float | None:
    """P(first) in [0, 1] at the token that decides; None where no token does.

    The deciding token is the one that opens the value of the last `choice` field, else
    the first token of the reply. Both labels must be among its alternatives, otherwise
    nothing is known of the other.
    """
    texts = [spelt_out(token.text) for token in tokens]
    openings = list(_VALUE.finditer("".join(texts)))
    at = openings[-1].end() if openings else 0
    with_ends = zip(tokens, texts, accumulate(map(len, texts)), strict=True)
    decides = next((token for token, text, end in with_ends if end > at and text.strip(" \"'\n")), None)
    if decides is None:
        return None
    # No chance is more than 1, whatever a server says.
    sides = [[math.exp(min(0.0, p)) for t, p in decides.alternatives if _opens(t, names)] for names in _SIDES.values()]
    first, second = map(sum, sides)
    return min(1.0, first / (first + second)) if all(sides) and first + second > 0.0 else None


@lru_cache(maxsize=4096)
def _opens(token: str, names: tuple[str, ...]) -> bool:
    """Whether a token begins one of a side's labels, such as `sec` or `"first`."""
    word = spelt_out(token).strip(" \"'\n\t:").lower()
    return bool(word) and any(name.startswith(word) or (len(name) > 1 and word.startswith(name)) for name in names)


PROMPTS_VERSION = 1
"""Raised when a prompt's text changes, so that saved fits know."""
_REASONING: dict[str, object] = {"reasoning": {"type": "string"}}
_HYPOTHESES: dict[str, object] = {"hypotheses": {"type": "array", "items": {"type": "string"}}}
_CHOICE: dict[str, object] = {"choice": {"type": "string", "enum": ["first", "second"]}}


def _schema(name: str, properties: dict[str, object]) -> Schema:
    return Schema(
        name,
        {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False},
    )


_NUMBERS = {"type": "array", "items": {"type": "integer"}}
_CLAIM = _schema("claim", {"text": {"type": "string"}, "supporting": _NUMBERS, "contradicting": _NUMBERS})
VERDICT = _schema("verdict", _REASONING | _CHOICE)
REASONED = _schema("reasoned_verdict", _REASONING | _HYPOTHESES | _CHOICE)
PERSONA = _schema("persona", {"claims": {"type": "array", "items": _CLAIM.content}})


@dataclass
class Losses:
    """What did not fit into prompts so far."""

    n_shortened: int = 0
    """Questions that lost turns of their conversation."""
    n_turns_left_out: int = 0
    n_retrieved: int = 0
    """Questions shown only the demonstrations nearest to them."""

    def line(self) -> str:
        """The losses in a sentence; empty without any."""
        parts = []
        if self.n_shortened:
            parts.append(f"{self.n_shortened:,} prompts lost {self.n_turns_left_out:,} old turns")
        if self.n_retrieved:
            parts.append(f"{self.n_retrieved:,} prompts show only the nearest demonstrations")
        return f"too long for the context: {', '.join(parts)}" if parts else ""


@dataclass(frozen=True, repr=False)
class Judged:
    """The answers to one wave."""

    verdicts: list[Verdict] = field(default_factory=list)
    personas: list[Persona | None] = field(default_factory=list)
    """None where the model's replies could not be read."""
    reasons: list[str] = field(default_factory=list)
    """Why those are missing."""
    is_stopped: bool = False
    """The run ended before the wave was answered."""


class ModelJudge:
    """Asks a language model; `judge` and `describe` block, `start` does not.

    Args:
        caller: Who asks.
        options: Sampling, probabilities, lengths.
        persona_prompt: Instructions that write personas; ours when None.
    """

    def __init__(
        self, caller: Caller, options: JudgeOptions | None = None, persona_prompt: PersonaPrompt | None = None
    ) -> None:
        self.caller, self.options = caller, options or JudgeOptions()
        context = getattr(caller.lm, "context_tokens", None)
        if context is not None:  # what a model on this machine cannot read need not be sent
            longest = max(1, context - self.options.max_tokens)
            self.options = replace(self.options, max_prompt_tokens=min(self.options.max_prompt_tokens, longest))
        self.persona_prompt = (persona_prompt or shipped_persona_prompt()).trimmed(
            int(self.options.max_example_tokens * CHARACTERS_A_TOKEN)
        )
        self.losses = Losses()
        self._instructions: Recent[str] = Recent()
        self._lengths: Recent[int] = Recent()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.caller.lm.name

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question, in order.

        Raises:
            ModelUnavailable: If the run was stopped (no access, no server, no budget).
        """
        return self._wait("judge", questions, ()).verdicts

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        """One persona a question; an empty one with a note where the replies could not be read."""
        judged = self._wait("persona", (), questions)
        return [
            persona if persona is not None else Persona(note=f"no persona: {reason}")
            for persona, reason in zip(judged.personas, judged.reasons, strict=True)
        ]

    def start(
        self,
        stage: str,
        questions: Sequence[Question],
        persona_questions: Sequence[PersonaQuestion],
        done: Callable[[Judged], None],
    ) -> None:
        """Ask everything and return; `done` gets the answers, in another thread."""
        asks = self.asks(stage, questions, persona_questions)
        self.caller.start(asks, lambda outcomes: done(self.judged(outcomes, len(questions))))

    def asks(
        self, stage: str, questions: Sequence[Question], persona_questions: Sequence[PersonaQuestion]
    ) -> list[Ask[Verdict | Persona]]:
        """What has to be asked, in the order in which `judged` wants the outcomes."""
        asks: list[Ask[Verdict | Persona]] = [
            Ask(lambda q=q, k=k: self.judge_request(q, stage, k), _verdict)  # type: ignore[misc]
            for q in questions
            for k in range(self.options.n_samples)
        ]
        asks += [
            Ask(lambda q=q: self.persona_request(q), lambda reply, q=q: _persona(reply, q))  # type: ignore[misc]
            for q in persona_questions
        ]
        return asks

    def _wait(self, stage: str, questions: Sequence[Question], persona_questions: Sequence[PersonaQuestion]) -> Judged:
        answers: Queue[Judged] = Queue()
        self.start(stage, questions, persona_questions, answers.put)
        judged = answers.get()
        if judged.is_stopped:
            raise self.caller.stopped or ModelUnavailable("the run was stopped")
        return judged

    def judge_request(self, question: Question, stage: str, sample: int = 0) -> Request:
        """The request of a question, with as much of its conversation and demonstrations as fits."""
        left = int(self.options.max_prompt_tokens * CHARACTERS_A_TOKEN)
        left -= len(question.first) + len(question.second)
        demonstrations = question.demonstrations
        if self._lengths.of((demonstrations,), lambda: sum(map(n_characters, demonstrations))) > left // 2:
            with self._lock:
                self.losses.n_retrieved += 1
            demonstrations = nearest_demonstrations(question.conversation, demonstrations, left // 2)
        # Made once for all questions that share these very objects, as a trial's do.
        system = self._instructions.of(
            (question.persona, demonstrations, question.wants_hypotheses),
            lambda: judge_instructions(question.persona, demonstrations, with_hypotheses=question.wants_hypotheses),
        )
        shown = pair_messages(question.conversation, question.first, question.second, max(0, left - len(system)))
        if shown.n_turns_left_out:
            with self._lock:
                self.losses.n_shortened += 1
                self.losses.n_turns_left_out += shown.n_turns_left_out
        schema = REASONED if question.wants_hypotheses else VERDICT
        return Request(
            (Message("system", system), *shown.messages), self._sampling(sample), schema, stage, question.user_id
        )

    def persona_request(self, question: PersonaQuestion) -> Request:
        """The request of a persona or of what leads to one, from the latest demonstrations that fit."""
        left = int(self.options.max_prompt_tokens * CHARACTERS_A_TOKEN) - len(self.persona_prompt.instruction)
        left -= sum(map(len, question.known))
        latest: list[Demonstration] = []
        for demonstration in reversed(question.demonstrations):
            left -= n_characters(demonstration)
            if left < 0 and latest:
                break
            latest.append(demonstration)
        messages = describing_messages(question.task, latest[::-1], question.known, self.persona_prompt)
        sampling = replace(self._sampling(0), top_logprobs=0, temperature=self.options.temperature)
        return Request(messages, sampling, PERSONA, question.task, question.user_id)

    def _sampling(self, sample: int) -> Sampling:
        options = self.options
        temperature = 1.0 if options.n_samples > 1 and options.temperature == 0.0 else options.temperature
        top_logprobs = 5 if options.logprobs and options.n_samples == 1 else 0
        return Sampling(temperature, options.max_tokens, options.seed + sample, top_logprobs)

    def judged(self, outcomes: Sequence[Outcome[Verdict | Persona]], n_questions: int) -> Judged:
        """The answers that these outcomes of `asks` make."""
        if any(outcome.is_stopped for outcome in outcomes):
            return Judged(is_stopped=True)
        rest = iter(outcomes)
        verdicts = [_together(list(islice(rest, self.options.n_samples))) for _ in range(n_questions)]
        described = list(rest)
        personas = [outcome.value if isinstance(outcome.value, Persona) else None for outcome in described]
        return Judged(verdicts, personas, [outcome.reason for outcome in described])


def open_model_judge(
    lm: str | LM,
    *,
    base_url: str | None = None,
    cache: str | Path | None = None,
    options: JudgeOptions | None = None,
) -> ModelJudge:
    """A judge behind a model's name or an `LM` object; nothing is asked yet.

    Raises:
        UnknownName: If the name does not say where the model is.
    """
    model = open_model(ModelName(lm, base_url)) if isinstance(lm, str) else lm
    return ModelJudge(Caller(model, cache=Cache(":memory:" if cache is None else cache)), options)


def _verdict(reply: Reply) -> Verdict:
    read = read_verdict(reply.text)
    # Log-probabilities of something else, such as thoughts beside the text, say nothing; nor do those against the text.
    spelt = spelt_out("".join([token.text for token in reply.tokens]))
    chance = chance_of_first(reply.tokens) if _squeezed(reply.text)[-TAIL:] in _squeezed(spelt) else None
    certain = 1.0 if read.choice == "first" else 0.0
    if chance is None or (chance - 0.5) * (certain - 0.5) < 0.0:
        chance = certain
    return Verdict(read.choice, chance, read.text)


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _persona(reply: Reply, question: PersonaQuestion) -> Persona:
    numbered = [demonstration.shown.pair.id for demonstration in question.demonstrations]
    return read_persona(reply.text, numbered or [str(n) for n in range(1, len(question.known) + 1)])


def _together(outcomes: Sequence[Outcome[Verdict | Persona]]) -> Verdict:
    """One verdict of the samples of a question; samples without one are left out."""
    verdicts = [outcome.value for outcome in outcomes if isinstance(outcome.value, Verdict)]
    if not verdicts:
        return Verdict(None, unscored_reason=outcomes[0].reason or "no reply")
    if len(verdicts) == 1:
        return verdicts[0]
    chance = sum(verdict.probability or 0.0 for verdict in verdicts) / len(verdicts)
    together = verdict_from_probability(chance)
    agreeing = next((verdict for verdict in verdicts if verdict.choice == together.choice), verdicts[0])
    return replace(together, reasoning=agreeing.reasoning)
