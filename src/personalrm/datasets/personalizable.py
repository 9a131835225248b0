"""Whether taste can decide how a conversation is answered: the filter of the benchmark, and the same question online.

A hundred requests of our own (`labelled_queries.jsonl`), labeled by hand, are split
20/30/50: the first part is shown to the model (few-shot), the second is for whoever
changes the prompt, the third measures how often a model is right and is used for nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any, Literal

from personalrm.errors import BadInput, NoScoredPairs, UnreadableReply
from personalrm.lm.batch import Ask, Caller, Outcome
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.prices import CHARACTERS_A_TOKEN
from personalrm.lm.protocol import LM, Reply, Request, Sampling, Schema
from personalrm.preferences.messages import Conversation, Message, check_conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.prompts.personalizable import LabeledQuery, pair_question, query_question
from personalrm.prompts.replies import read_yes_or_no

QUERY = Schema.of_choice("personalizable_query", "disagree", ("yes", "no"))
PAIR = Schema.of_choice("personalizable_pair", "taste", ("yes", "no"))
PROMPTS_VERSION = 1
"""Raised when a prompt's text or a labeled request changes, so that finished stages know."""
ALL_SHOTS = 20


@dataclass(frozen=True)
class PersonalizableOptions:
    """How the filter asks."""

    shots: int = ALL_SHOTS
    """Labeled requests shown first, half of them yes; 0 is zero-shot."""
    max_tokens: int = 512
    seed: int = 0
    max_prompt_tokens: int = 32_000
    """Longest prompt; the oldest turns of a conversation go first."""

    def __post_init__(self) -> None:
        if not 0 <= self.shots <= ALL_SHOTS or self.shots % 2:
            raise BadInput(f"shots must be an even number from 0 to {ALL_SHOTS}, got {self.shots!r}")


@dataclass(frozen=True)
class FilterAccuracy:
    """How often a model is right about the labeled requests it was never shown."""

    model: str
    is_scripted: bool
    """Whether the model is a script of ours: then the figure says nothing about the filter."""
    accuracy: float
    """Share of the answered requests that were right."""
    low: float
    high: float
    """95 % interval (Wilson), requests being independent."""
    n: int
    """Requests that were answered."""
    n_unscored: int

    def line(self) -> str:
        """The figure in a sentence."""
        label = " by a scripted model, which says nothing of the filter" if self.is_scripted else ""
        lost = f", {self.n_unscored} not answered" if self.n_unscored else ""
        return (
            f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}] of {self.n} labeled requests"
            f" ({self.model}{lost}){label}"
        )

    def as_json(self) -> dict[str, Any]:
        """The figure as JSON values."""
        return asdict(self)


@cache
def labeled_queries(part: Literal["train", "dev", "test"]) -> tuple[LabeledQuery, ...]:
    """Our labeled requests of one part: 20 to show, 30 to change the prompt by, 50 to measure on."""
    text = (files("personalrm.datasets") / "labelled_queries.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(LabeledQuery(row["query"], row["disagree"]) for row in rows if row["part"] == part)


class PersonalizableFilter:
    """Asks a model the two questions; nothing is asked before it is told to.

    Args:
        caller: Who asks.
        options: Examples, lengths.
    """

    def __init__(self, caller: Caller, options: PersonalizableOptions | None = None) -> None:
        self.caller = caller
        self.options = options or PersonalizableOptions()

    def ask_queries(self, items: Sequence[tuple[str, Conversation]], stage: str = "query") -> list[Outcome[bool]]:
        """Would reasonable users disagree about how these should be answered? In order, equal ones asked once.

        Args:
            items: Whose conversation, and the conversation.
            stage: What it is for, for tables of cost.

        Raises:
            ModelUnavailable: If the run was stopped (no access, no server, no budget).
        """
        asks = [Ask(partial(self.query_request, *item, stage), _read) for item in items]
        return self.caller.ask_all_or_raise(asks)

    def ask_pairs(self, pairs: Sequence[PreferencePair]) -> list[Outcome[bool]]:
        """Do the completions of these differ in a way that taste could decide? In order.

        Which completion was chosen must not show, so they are put in the order of their texts.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        return self.caller.ask_all_or_raise([Ask(partial(self.pair_request, pair), _read) for pair in pairs])

    def query_request(self, user_id: str, conversation: Conversation, stage: str = "query") -> Request:
        """The request of a conversation."""
        shown = labeled_queries("train")[: self.options.shots]
        messages = query_question(conversation, shown, self._most_characters)
        return Request(messages, self._sampling, QUERY, stage, user_id)

    def pair_request(self, pair: PreferencePair) -> Request:
        """The request of a pair."""
        first, second = sorted((pair.chosen, pair.rejected))
        n_left = max(0, self._most_characters - len(first) - len(second))
        messages = pair_question(pair.conversation, first, second, n_left)
        return Request(messages, self._sampling, PAIR, "pair", pair.user_id)

    def measure(self, *, is_scripted: bool) -> FilterAccuracy:
        """How often the model is right about the part of the labeled requests that is for measuring.

        Raises:
            NoScoredPairs: If no request was answered.
            ModelUnavailable: If the run was stopped.
        """
        labeled = labeled_queries("test")
        outcomes = self.ask_queries([("", (Message("user", query.query),)) for query in labeled], "accuracy")
        right = [
            query.disagree == outcome.value
            for query, outcome in zip(labeled, outcomes, strict=True)
            if outcome.value is not None
        ]
        if not right:
            raise NoScoredPairs(
                f"none of {len(labeled)} labeled requests was answered ({outcomes[0].reason}), so the filter's "
                "accuracy is not measured; check the model with `personalrm check`"
            )
        low, high = wilson(sum(right), len(right))
        name = self.caller.lm.name
        return FilterAccuracy(
            name, is_scripted, sum(right) / len(right), low, high, len(right), len(labeled) - len(right)
        )

    def measuring_requests(self) -> list[Request]:
        """What `measure` asks."""
        turns = [(Message("user", query.query),) for query in labeled_queries("test")]
        return [self.query_request("", conversation, "accuracy") for conversation in turns]

    @property
    def _most_characters(self) -> int:
        return int(self.options.max_prompt_tokens * CHARACTERS_A_TOKEN)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(0.0, self.options.max_tokens, self.options.seed)


def is_personalizable(
    conversation: Conversation,
    model: str | LM,
    *,
    base_url: str | None = None,
    completions: tuple[str, str] | None = None,
    options: PersonalizableOptions | None = None,
) -> bool:
    """Whether reasonable users would disagree about how a conversation should be answered.

    One call to the model; two where completions are given and the first answer is yes.
    For many at once use `PersonalizableFilter` with a `Caller` of your own.

    Args:
        conversation: The turns before the answer, ending with a user turn.
        model: A model's name (`openai/NAME`, NAME with a base URL) or an `LM`.
        base_url: Of the server.
        completions: Two answers; then they must also differ in a way that taste could decide.
        options: Examples, lengths.

    Raises:
        BadRow: If the conversation cannot be answered, or the completions are identical.
        UnreadableReply: If the model gives no usable answer.
        ModelUnavailable: If it cannot be reached.
    """
    turns = check_conversation(conversation)
    pair = PreferencePair("anybody", turns, *completions) if completions is not None else None
    lm = open_model(ModelName(model, base_url)) if isinstance(model, str) else model
    with Caller(lm) as caller:
        asked = PersonalizableFilter(caller, options)
        answer = _answered(asked.ask_queries([("", turns)])[0])
        return answer if pair is None or not answer else _answered(asked.ask_pairs([pair])[0])


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share of independent trials (Wilson 1927).

    >>> [round(end, 3) for end in wilson(45, 50)]
    [0.786, 0.957]
    """
    z = 1.959963984540054
    share, shrink = n_right / n, 1.0 + z * z / n
    middle = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1.0 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _read(reply: Reply) -> bool:
    return read_yes_or_no(reply.text)


def _answered(outcome: Outcome[bool]) -> bool:
    if outcome.value is None:
        raise UnreadableReply(f"the model gave no usable answer ({outcome.reason}); try again or another model")
    return outcome.value
