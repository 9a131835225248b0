"""A reward model on a server: vLLM's `/classify`, `/pooling` and `/score` routes, and servers like it.

It is an `LM` whose reply is a number, so that the one caller's retries, limits, budget
and cache serve it too. A request holds the conversation and, last, the completion.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from personalrm.errors import UnknownName, UnreadableReply
from personalrm.lm.addresses import root_of, route_url
from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.protocol import Fault, Reply, Request, Usage
from personalrm.lm.wire import read_response

Route = Literal["classify", "pooling", "score"]
ROUTES: tuple[Route, ...] = get_args(Route)
MOST_BYTES = 4 * 2**20
"""A number is never as long, nor what pooling gives for each token of a long conversation."""
RAW = {"use_activation": False, "activation": False}
"""Rewards, not probabilities; the field's newer and older name, of which servers ignore the one they do not know."""


class RewardServer(OpenAIServer):
    """The reward model of an endpoint; connects at the first request.

    `base_url` is the server's root: these routes lie beside `/v1`, not below it, and a
    trailing `/v1` is dropped.

    Args:
        endpoint: Where it is.
        route: `classify` and `pooling` send the messages, to which the server applies its chat template; `score`
            sends the conversation and the completion as two texts.
        render: Makes one text of the messages, to be sent as `input` in their place: for servers without chat input.
    """

    def __init__(
        self, endpoint: Endpoint, *, route: Route = "classify", render: Callable[[Request], str] | None = None
    ) -> None:
        if route not in ROUTES:
            raise UnknownName(f"unknown route {route!r} of a reward server; use one of {', '.join(ROUTES)}")
        super().__init__(endpoint)
        self.route, self._render = route, render
        self._root = root_of(endpoint.base_url)

    @property
    def identity(self) -> str:
        """Tenant, base URL, model, extra body, and how it is asked."""
        e = self.endpoint
        identity = [e.tenant, self._root, e.model, dict(e.body), self.route, self._render is not None]
        return json.dumps(identity, sort_keys=True)

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """The reward of the request's last message, as text.

        Raises:
            Fault: If there is none.
        """
        body: dict[str, Any] = {"model": self.endpoint.model, **RAW, **self.endpoint.body}
        if self.route == "score":
            *before, last = request.messages
            body |= {"text_1": "\n\n".join(f"{turn.role}: {turn.content}" for turn in before), "text_2": last.content}
        elif self._render is not None:
            body |= {"input": self._render(request)}
        else:
            turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
            body |= {"messages": turns, "add_generation_prompt": False}
        url = route_url(self._root, f"/{self.route}")
        status, headers, raw = await self._post(url, json.dumps(body).encode("ascii"), most_bytes=MOST_BYTES)
        if status != 200:
            return read_response(status, headers, raw, self._sent(request))  # raises what the status means
        try:
            content = json.loads(raw)
            reward = content["data"][0][{"classify": "probs", "pooling": "data", "score": "score"}[self.route]]
            while isinstance(reward, list):  # the only class, or what pooling gives for the last token
                reward = reward[-1]
            if isinstance(reward, bool) or not isinstance(reward, int | float):
                raise TypeError("not a number")
            usage = Usage(prompt_tokens=int((content.get("usage") or {}).get("prompt_tokens", 0)))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise Fault("no reward in the answer", "same") from None
        return Reply(repr(float(reward)), usage=usage)


def read_reward(reply: Reply) -> float:
    """The number a `RewardServer` replied.

    Raises:
        UnreadableReply: If it is not a finite number.
    """
    try:
        reward = float(reply.text)
    except ValueError:
        reward = math.nan
    if not math.isfinite(reward):
        raise UnreadableReply("no finite reward")
    return reward
