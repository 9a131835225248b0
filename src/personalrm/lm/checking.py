"""What a model server can do, found out with one small call."""

from __future__ import annotations

import json
from dataclasses import dataclass

from personalrm.lm.batch import Ask, Caller
from personalrm.lm.http import OpenAIServer
from personalrm.lm.protocol import Reply, Request, Sampling, Schema
from personalrm.preferences.messages import Message

_SCHEMA = Schema(
    "check",
    {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": ["first", "second"]}},
        "required": ["choice"],
        "additionalProperties": False,
    },
)
_ASKED = (Message("user", 'Answer with the JSON object {"choice": "first"} and nothing else.'),)


@dataclass(frozen=True)
class Abilities:
    """What one reply showed."""

    model: str
    """What the server calls itself."""
    takes_schema: bool
    """Whether it accepted a JSON schema and kept to it."""
    gives_logprobs: bool
    counts_tokens: bool
    takes_seed: bool
    limits: dict[str, str]
    """Rate limits it named in its headers."""
    problem: str = ""
    """Why there was no usable reply; empty when there was one."""


def check_model(caller: Caller) -> Abilities:
    """What one small call shows.

    Raises:
        ModelUnavailable: If the server cannot be reached or refuses access.
    """
    request = Request(_ASKED, Sampling(max_tokens=64, top_logprobs=2), _SCHEMA, "check")
    outcome = caller.ask_all([Ask(lambda: request, lambda reply: reply)])[0]
    if outcome.is_stopped and caller.stopped is not None:
        raise caller.stopped
    lm = caller.lm
    refused = lm.refused if isinstance(lm, OpenAIServer) else frozenset()
    limits = lm.rate_limits if isinstance(lm, OpenAIServer) else {}
    reply = outcome.value or Reply("")
    try:
        keeps_to_schema = json.loads(reply.text).get("choice") in ("first", "second")
    except (ValueError, AttributeError):
        keeps_to_schema = False
    return Abilities(
        model=reply.model or lm.name,
        takes_schema="schema" not in refused and keeps_to_schema,
        gives_logprobs=bool(reply.tokens),
        counts_tokens=bool(reply.usage.prompt_tokens),
        takes_seed="seed" not in refused,
        limits=dict(limits),
        problem=outcome.reason,
    )
