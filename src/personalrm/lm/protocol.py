"""What a language model is to us: messages in, one reply or a fault out.

An `LM` makes exactly one attempt and raises a `Fault` when it fails. Everything that
makes calls cheap and safe (cache, single flight, retries, limits, budgets) is in
`batch.py`, once, for every kind of model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

from personalrm.preferences.messages import Message

Again = Literal["same", "reseeded", "changed", "never", "stop"]
"""`same`: try again unchanged; `reseeded`: ask again with another seed; `changed`: ask again at once, it will be sent
another way; `never`: this request is hopeless; `stop`: every request is (a wrong key, an unknown model)."""
Feature = Literal["schema", "logprobs", "seed", "max_tokens", "temperature", "roles", "whole", "usage"]
"""A part of a request that some servers refuse. `max_tokens` is the older name of a field; `roles` are system turns and
turns of one role in a row; `whole` is an answer in one piece, without which it is streamed; `usage` asks for the count
of tokens at the end of a stream."""


class Fault(Exception):
    """One attempt failed; never leaves `lm/` (callers see outcomes and typed errors)."""

    def __init__(
        self,
        kind: str,
        again: Again,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        feature: Feature | None = None,
        advice: str = "",
        message: str = "",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.again = again
        self.status = status
        self.retry_after_s = retry_after_s
        self.feature = feature
        """What the server does not take; a request that was sent with it is sent again without."""
        self.advice = advice
        """What to do, where it is known."""
        self.message = message
        """The server's own words, shortened, nothing of what was sent in them."""
        self.usage = usage
        """What a reply that cannot be used has cost; all zeros where nothing was computed, None where nobody knows."""

    def told(self, attempts: str = "") -> str:
        """Its kind, after how many attempts, and what the server said."""
        return (
            self.kind + (f", after {attempts}" if attempts else "") + (f" ({self.message!r})" if self.message else "")
        )


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 0.0
    """0 is greedy decoding."""
    max_tokens: int = 1024
    """Most tokens of a reply; what a budget reserves."""
    seed: int = 0
    """Sent where the server takes one; a reply that cannot be read is asked again with another."""
    top_logprobs: int = 0
    """How many alternatives a token to ask log-probabilities for; 0 asks for none."""


@dataclass(frozen=True)
class Schema:
    """The JSON a reply is to be, for servers that can be held to one."""

    name: str
    content: Mapping[str, Any]

    @cached_property
    def text(self) -> str:
        """Its content as JSON; schemas are few and asked with thousands of times."""
        return json.dumps(self.content)

    @classmethod
    def of_choice(cls, name: str, key: str, choices: Sequence[str]) -> Schema:
        """A reasoning, then one of some words under a key."""
        properties = {"reasoning": {"type": "string"}, key: {"type": "string", "enum": list(choices)}}
        required = ["reasoning", key]
        return cls(
            name, {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        )


@dataclass(frozen=True, repr=False)
class Request:
    """One thing to ask."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    schema: Schema | None = None
    stage: str = ""
    """What it is for (`bootstrap`, `trials`, `persona`, `judge`), for tables of cost."""
    user_id: str = ""
    """Whose data is in it; owns the cache entry."""
    without: frozenset[Feature] = frozenset()
    """What the server refused; whoever sends it leaves that out. No part of what a request is known by."""

    @property
    def n_bytes(self) -> int:
        """Length of all messages in UTF-8: no tokenizer makes more tokens of them."""
        contents = (message.content for message in self.messages)
        return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in contents)

    @property
    def n_characters(self) -> int:
        """Length of all messages."""
        return sum(len(message.content) for message in self.messages)

    def __repr__(self) -> str:
        return f"Request(messages={len(self.messages)}, characters={self.n_characters}, stage={self.stage!r})"


@dataclass(frozen=True)
class Usage:
    """Tokens a server counted; no prompt tokens at all say that it did not."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens, those the server had seen before."""


@dataclass(frozen=True, repr=False)
class TokenChances:
    """One token of a reply with its alternatives."""

    text: str
    alternatives: tuple[tuple[str, float], ...]
    """Token texts and log-probabilities, the token itself included."""


@dataclass(frozen=True, repr=False)
class Reply:
    """What came back."""

    text: str
    finish_reason: str = "stop"
    usage: Usage = Usage()
    tokens: tuple[TokenChances, ...] = ()
    """Log-probabilities, where asked for and given."""
    model: str = ""
    """What the server says it is."""

    def __repr__(self) -> str:
        return f"Reply(characters={len(self.text)}, finish_reason={self.finish_reason!r})"


_MARKS = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"})


def spelt_out(token: str) -> str:
    """A token as it stands in a reply: some servers write the marks of their tokenizer for blanks and line breaks.

    >>> spelt_out("Ġfirst")
    ' first'
    """
    return token if token.isascii() else token.translate(_MARKS)


class LM(Protocol):
    """A language model that makes one attempt, of one request, at a time."""

    @property
    def name(self) -> str:
        """What saved prompts and reports call it, such as `openai/gpt-4o-mini`."""
        ...

    @property
    def identity(self) -> str:
        """All that decides what is answered besides the request: tenant, base URL, model, extra body. No keys."""
        ...

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt.

        Raises:
            Fault: With its kind and whether to try again.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
