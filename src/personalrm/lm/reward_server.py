"""A reward model on a server: vLLM's `/classify`, `/pooling` and `/score` routes, and servers like it.

It is an `LM` whose reply is a number, so that the one caller's retries, limits, budget
and cache serve it too. A request holds the conversation and, last, the completion.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from personalrm.errors import UnknownName, UnreadableReply
from personalrm.lm.http import Endpoint
from personalrm.lm.protocol import Fault, Reply, Request, Usage
from personalrm.lm.wire import read_response

if TYPE_CHECKING:
    import aiohttp

Route = Literal["classify", "pooling", "score"]
ROUTES: tuple[Route, ...] = get_args(Route)
RAW = {"use_activation": False, "activation": False}
"""Rewards, not probabilities; the field's newer and older name, of which servers ignore the one they do not know."""


class RewardServer:
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
        self.endpoint, self.route, self._render = endpoint, route, render
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.endpoint.name or self.endpoint.model

    @property
    def identity(self) -> str:
        """Tenant, base URL, model, extra body, and how it is asked."""
        e = self.endpoint
        told = [e.tenant, self._root, e.model, dict(e.body), self.route, self._render is not None]
        return json.dumps(told, sort_keys=True)

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """The reward of the request's last message, as text.

        Raises:
            Fault: If there is none.
        """
        import aiohttp

        try:
            async with self._opened().post(self.route, json=self._body(request)) as response:
                return _read(response.status, response.headers, await response.read(), self.route)
        except TimeoutError:
            raise Fault("time-out", "same") from None
        except aiohttp.ClientConnectorError:
            raise Fault("cannot connect", "same") from None
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError) as error:
            raise Fault(f"connection broke ({type(error).__name__})", "same") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def _root(self) -> str:
        return self.endpoint.base_url.rstrip("/").removesuffix("/v1").rstrip("/")

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.endpoint.model, **RAW, **self.endpoint.body}
        if self.route == "score":
            *before, last = request.messages
            asked = "\n\n".join(f"{turn.role}: {turn.content}" for turn in before)
            return body | {"text_1": asked, "text_2": last.content}
        if self._render is not None:
            return body | {"input": self._render(request)}
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        return body | {"messages": turns, "add_generation_prompt": False}

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            e = self.endpoint
            key = {"Authorization": f"Bearer {e.api_key}"} if e.api_key else {}
            self._session = aiohttp.ClientSession(
                self._root + "/",
                headers={**key, **e.headers},
                timeout=aiohttp.ClientTimeout(total=e.timeout_s),
                connector=aiohttp.TCPConnector(limit=0),
            )
        return self._session


def read_reward(reply: Reply) -> float:
    """The number a `RewardServer` replied.

    Raises:
        UnreadableReply: If it is none.
    """
    try:
        reward = float(reply.text)
    except ValueError:
        reward = math.nan
    if not math.isfinite(reward):
        raise UnreadableReply("no finite reward")
    return reward


def _read(status: int, headers: Mapping[str, str], body: bytes, route: Route) -> Reply:
    if status != 200:
        return read_response(status, headers, body)  # raises what the status means
    try:
        content = json.loads(body)
        row = content["data"][0]
        reward = _number(row[{"classify": "probs", "pooling": "data", "score": "score"}[route]])
        usage = Usage(prompt_tokens=int((content.get("usage") or {}).get("prompt_tokens", 0)))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise Fault("no reward in the answer", "same") from None
    return Reply(repr(reward), usage=usage)


def _number(found: Any) -> float:
    """The reward in an answer: a number, the only class, or what pooling gives for the last token."""
    while isinstance(found, list):
        found = found[-1]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError("no number")
    return float(found)
