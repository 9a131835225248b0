"""Any OpenAI-compatible server over HTTP, one attempt at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from personalrm.lm.addresses import headers_of, is_azure, moved, proxy_for, root_of, route_url, without_login
from personalrm.lm.pacing import Turns
from personalrm.lm.protocol import Fault, Reply, Request, Usage
from personalrm.lm.refusals import TOO_LONG, context_named
from personalrm.lm.server_facts import SLOT_SOURCES, SOURCES, ServerFacts
from personalrm.lm.wire import encode_request, read_response

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 8 * 2**20
"""A completion is never as long, not with twenty log-probabilities a token either. A gzip bomb is unpacked up to here,
in the thread that all other requests wait for."""
OK, SEE_OTHER, NOT_FOUND, NO_LOGIN = 200, 303, 404, 407
REDIRECTS = frozenset({301, 302, 303, 307, 308})
OPENAI_URL = "https://api.openai.com/v1"
FACTS_S = 5.0
"""Longest wait for what a server tells of itself."""
MOST_MOVES = 5
"""Redirects that are followed; more are a circle."""
CANNOT_CONNECT, TIMED_OUT, BROKE = "cannot connect", "time-out", "connection broke"
"""A server that does one of the first two with everybody is gone: the run ends, instead of writing off each request."""


@dataclass(frozen=True, repr=False)
class Endpoint:
    """Where a model is served and how it is addressed."""

    model: str
    base_url: str
    api_key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent beside ours."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """Merged into every request body."""
    timeout_s: float = 120.0
    """Longest wait for one whole answer, from when the server has room for its request."""
    tenant: str = ""
    """Whose cache entries these are, where several share one cache."""
    name: str = ""
    """What prompts and reports call it; the model's name when empty."""

    def __repr__(self) -> str:
        return f"Endpoint(model={self.model!r}, base_url={self.base_url!r}, has_key={bool(self.api_key)})"


class OpenAIServer:
    """The model of an endpoint; connects at the first call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.rate_limits: dict[str, str] = {}
        """What the last response's `x-ratelimit-*` headers said."""
        self._moved: dict[str, str] = {}
        """Routes that the server moved, by where they were asked for."""
        self.turns = Turns(endpoint.timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self._asks_slots: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.endpoint.name or self.endpoint.model

    @property
    def identity(self) -> str:
        """Tenant, base URL, model and extra body, as canonical JSON."""
        e = self.endpoint
        return json.dumps([e.tenant, e.base_url.rstrip("/"), e.model, dict(e.body)], sort_keys=True)

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt.

        Raises:
            Fault: If it fails.
        """
        e = self.endpoint
        data = encode_request(request, e.model, extra={"seed": seed, **e.body})
        status, headers, content = await self._post(route_url(e.base_url, "/chat/completions"), data)
        if any(name.lower().startswith("x-ratelimit") for name in headers):
            self.rate_limits = {k.lower(): v for k, v in headers.items() if "ratelimit" in k.lower()}
        try:
            return read_response(status, headers, content, self._sent(request))
        except Fault as fault:
            base_url = e.base_url.rstrip("/")
            if fault.status == NOT_FOUND and is_azure(base_url) and not urlsplit(base_url).query:
                fault.advice = f"Azure wants its version, try {base_url}?api-version=2024-10-21, else check the name"
            elif "base URL" in fault.advice and not urlsplit(base_url).path:
                # Most servers live under /v1, and a base URL without it is the commonest slip.
                fault.advice = f"base URLs mostly end in /v1, try {base_url}/v1, else check the model's name"
            elif fault.kind == TOO_LONG and (n := context_named(fault.message)) and n <= request.sampling.max_tokens:
                # No prompt whatever fits beside such a reply.
                fault.again = "stop"
                fault.advice = f"its whole context is {n} tokens: pass a --max-tokens well below"
            raise

    def _sent(self, request: Request) -> list[str]:
        """What a server must not be quoted with."""
        secrets = [self.endpoint.api_key, *self.endpoint.headers.values()]
        return [message.content for message in request.messages] + [secret for secret in secrets if secret]

    def _connected(self) -> aiohttp.ClientSession:
        """The connections, made at the first use."""
        import aiohttp

        if self._session is None:
            e = self.endpoint
            self._proxy = proxy_for(e.base_url)
            self._session = aiohttp.ClientSession(
                headers=headers_of(e.base_url, e.api_key, e.headers),
                timeout=aiohttp.ClientTimeout(total=None),  # `turns` ends what waits too long
                # Many servers drop what was idle for five seconds: a request must not meet that.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
                cookie_jar=aiohttp.DummyCookieJar(),  # nothing a model server sets is to be sent back to it
            )
            if e.base_url != OPENAI_URL:  # asked before the server is busy, answered whenever it likes
                self._asks_slots = asyncio.get_running_loop().create_task(self._read_slots())
        return self._session

    async def _post(
        self, url: str, data: bytes, *, most_bytes: int = MOST_BYTES
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the response.

        Raises:
            Fault: If there is none, or its body is longer than anything that is asked for.
        """
        import aiohttp

        session = self._connected()
        proxy, url = self._proxy, self._moved.get(url, url)
        through = f"the proxy {without_login(proxy)} (HTTP_PROXY, HTTPS_PROXY)" if proxy else ""
        try:
            with self.turns.turn() as turn:
                # Redirects are followed by hand: else a conversation and its key go wherever a server points to.
                async with session.post(url, data=data, proxy=proxy, allow_redirects=False) as response:
                    body = await _read(response, most_bytes)
                    turn.is_answered = response.status == OK
                    status, headers = response.status, response.headers
        except TimeoutError:
            raise Fault(TIMED_OUT, "same") from None
        except aiohttp.ClientHttpProxyError as error:
            status = error.status
            if status != NO_LOGIN:
                raise Fault(CANNOT_CONNECT, "same", advice=f"ask why {through} answered HTTP {status}") from None
        except aiohttp.ClientConnectorCertificateError:
            advice = "its certificate is not trusted here; set SSL_CERT_FILE to a file with its authority's certificate"
            raise Fault("a certificate that is not trusted", "stop", advice=advice) from None
        except aiohttp.ClientConnectorSSLError:
            raise Fault("no TLS", "stop", advice="write http:// in place of https://") from None
        except aiohttp.ClientConnectorError as error:
            is_proxys = isinstance(error, aiohttp.ClientProxyConnectionError)
            raise Fault(CANNOT_CONNECT, "same", advice=f"check {through}" if is_proxys else "") from None
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError, ValueError) as error:
            raise Fault(f"{BROKE} ({type(error).__name__})", "same") from None
        if proxy and status == NO_LOGIN:
            advice = f"write its login into {through} as http://name:password@host"
            raise Fault("HTTP 407", "stop", status=status, advice=advice)
        if status in REDIRECTS:
            self._follow(url, headers.get("Location", ""), status)
        return status, headers, body

    def _follow(self, url: str, location: str, status: int) -> None:
        """Note where a route has moved to.

        Raises:
            Fault: Always: to be sent again there, or not at all.
        """
        target = moved(url, location) if location and status != SEE_OTHER else None
        if target is None or target in {url, *self._moved} or len(self._moved) >= MOST_MOVES:
            host = _host(url, location)
            advice = "nothing was sent there; write the address that you mean as --base-url"
            raise Fault(f"with a redirect to {host}", "stop", status=status, advice=advice)
        self._moved = {old: target if new == url else new for old, new in self._moved.items()} | {url: target}
        raise Fault("redirect", "changed", status=status, usage=Usage())

    async def facts(self, sources: Sequence[str] = SOURCES) -> ServerFacts:
        """What the server tells of itself in some of its routes; nothing where it does not."""
        import aiohttp

        facts = ServerFacts()
        for source in sources:
            url = route_url(root_of(self.endpoint.base_url), source)
            try:
                async with asyncio.timeout(FACTS_S):
                    async with self._connected().get(url, proxy=self._proxy, allow_redirects=False) as response:
                        if response.status == OK:
                            content = json.loads(await _read(response, MOST_BYTES))
                            facts = facts.and_from(content, self.endpoint.model)
            except (aiohttp.ClientError, Fault, OSError, RecursionError, TimeoutError, ValueError):
                continue
            if facts.n_slots and facts.context_tokens:
                break
        return facts

    async def _read_slots(self) -> None:
        facts = await self.facts(SLOT_SOURCES)
        if facts.n_slots:
            self.turns.know_slots(facts.n_slots)

    async def close(self) -> None:
        """Close the connections."""
        if self._asks_slots is not None:
            self._asks_slots.cancel()
            self._asks_slots = None
        if self._session is not None:
            await self._session.close()
            self._session = None


def _host(url: str, location: str) -> str:
    """The host and port a redirect leads to."""
    try:
        return (urlsplit(urljoin(url, location)).netloc.rpartition("@")[2] if location else "") or "nowhere"
    except ValueError:
        return "nowhere"


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """The body, given up where it is too long."""
    length = response.content_length
    if length is not None and length <= most_bytes and "Content-Encoding" not in response.headers:
        return await response.read()
    parts, size = [], 0
    if (length or 0) <= most_bytes:
        async for part in response.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                break
        else:
            return b"".join(parts)
    response.close()
    raise Fault("body too large", "same")
