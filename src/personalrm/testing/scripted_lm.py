"""A language model that answers by a rule, in this process, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from personalrm.lm.protocol import Fault, Reply, Request, TokenChances, Usage
from personalrm.preferences.messages import Message
from personalrm.testing.skill import Rule, by_hash


class ScriptedLM:
    """An `LM` for tests and examples.

    Args:
        rule: Reply text from the messages; by default a hash of them decides.
        latency_s: How long each answer takes.
        faults: Called with the request and the number of earlier attempts at it; raise or
            return a `Fault` to fail that attempt, return None to answer.
        tokens: Log-probabilities to hand out with a reply text.
    """

    def __init__(
        self,
        rule: Rule = by_hash,
        *,
        name: str = "scripted",
        latency_s: float = 0.0,
        faults: Callable[[Request, int], Fault | None] | None = None,
        tokens: Callable[[str], Sequence[TokenChances]] | None = None,
    ) -> None:
        self.name = name
        self.identity = f'["scripted", "{name}"]'
        self.requests: list[Request] = []
        """Every attempt, in the order it came in."""
        self.seeds: list[int] = []
        self.most_in_flight = 0
        self._rule, self._latency_s, self._faults, self._tokens = rule, latency_s, faults, tokens
        self._attempts: dict[tuple[Message, ...], int] = {}
        self._n_in_flight = 0

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """What the rule says, after the latency.

        Raises:
            Fault: As the script has it.
        """
        self.requests.append(request)
        self.seeds.append(seed)
        earlier = self._attempts.get(request.messages, 0)
        self._attempts[request.messages] = earlier + 1
        self._n_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._n_in_flight)
        try:
            await asyncio.sleep(self._latency_s)
            if self._faults is not None and (fault := self._faults(request, earlier)) is not None:
                raise fault
            text = self._rule([{"role": turn.role, "content": turn.content} for turn in request.messages])
        finally:
            self._n_in_flight -= 1
        usage = Usage(request.n_characters // 4, len(text) // 4)
        return Reply(text, "stop", usage, tuple(self._tokens(text)) if self._tokens else (), self.name)

    async def close(self) -> None:
        """Nothing to close."""
