"""What a model server can do, found out with one call such as a fit makes hundreds of."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from personalrm.judging.model import ModelJudge, chance_of_first
from personalrm.lm.batch import Ask
from personalrm.lm.http import OpenAIServer
from personalrm.lm.local.model import LocalModel
from personalrm.lm.protocol import Reply
from personalrm.lm.server_facts import ServerFacts
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import Question

_ASKED = Question(
    "check",
    (Message("user", "How do I boil an egg?"),),
    "Put it into boiling water for seven minutes.",
    "There are many ways to boil an egg, and which of them is right for you depends on how firm you like it.",
    Persona((Claim("Prefers short answers."),)),
)


@dataclass(frozen=True)
class Abilities:
    """What one reply showed."""

    model: str
    """What the server calls itself."""
    takes_schema: bool
    """Whether it accepted a JSON schema and kept to it."""
    gives_logprobs: bool
    """Whether the chance of both labels can be read from its log-probabilities."""
    counts_tokens: bool
    takes_seed: bool
    takes_system: bool
    """Whether it accepted a system turn; otherwise its text stands in front of the user's."""
    limits: dict[str, str]
    """Rate limits it named in its headers."""
    context_tokens: int | None = None
    """Longest prompt and reply together, where the server says it."""
    n_slots: int | None = None
    """Requests it answers at one time, where it says so."""
    problem: str = ""
    """Why there was no usable reply; empty when there was one."""


def check_model(judge: ModelJudge) -> Abilities:
    """What one small call shows.

    Raises:
        ModelUnavailable: If the server cannot be reached or refuses access.
    """
    caller = judge.caller
    outcome = caller.ask_all_or_raise([Ask(lambda: judge.judge_request(_ASKED, "check"), lambda reply: reply)])[0]
    reply = outcome.value or Reply("")
    try:
        keeps_to_schema = json.loads(reply.text).get("choice") in ("first", "second")
    except (ValueError, AttributeError, RecursionError):
        keeps_to_schema = False
    lm = caller.lm
    facts = lm.server_facts if isinstance(lm, LocalModel) else ServerFacts()
    server = lm if isinstance(lm, OpenAIServer) else None
    if server is not None:
        facts = asyncio.run(_facts(server))
    return Abilities(
        model=reply.model or caller.lm.name,
        takes_schema="schema" not in caller.refused and keeps_to_schema,
        gives_logprobs=chance_of_first(reply.tokens) is not None,
        counts_tokens=bool(reply.usage.prompt_tokens),
        takes_seed="seed" not in caller.refused,
        takes_system="roles" not in caller.refused,
        limits=dict(server.rate_limits) if server is not None else {},
        context_tokens=facts.context_tokens,
        n_slots=facts.n_slots,
        problem=outcome.reason,
    )


async def _facts(server: OpenAIServer) -> ServerFacts:
    """What a server tells of itself, over a connection of this loop's own."""
    own = OpenAIServer(server.endpoint)
    try:
        return await own.facts()
    finally:
        await own.close()
