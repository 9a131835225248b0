"""Any OpenAI-compatible server over HTTP, one attempt at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from personalrm.lm.protocol import Fault, Reply, Request
from personalrm.lm.wire import encode_request, read_response

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 8 * 2**20
"""A completion is never as long, not with twenty log-probabilities a token either. A gzip bomb is unpacked up to here,
in the thread that all other requests wait for."""
NOT_FOUND = 404


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
    """Longest wait for one whole answer."""
    tenant: str = ""
    """Whose cache entries these are, where several share one cache."""
    name: str = ""
    """What prompts and reports call it; the model's name when empty."""

    def __repr__(self) -> str:
        return f"Endpoint(model={self.model!r}, base_url={self.base_url!r}, has_key={bool(self.api_key)})"


class OpenAIServer:
    """The model of an endpoint; connects at the first call.

    A feature the server refuses by name (JSON schema, log-probabilities, seed) is left
    out from then on; `refused` says which.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.refused: frozenset[str] = frozenset()
        self.rate_limits: dict[str, str] = {}
        """What the last response's `x-ratelimit-*` headers said."""
        self._url = endpoint.base_url.rstrip("/") + "/chat/completions"
        self._session: aiohttp.ClientSession | None = None

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
        """One attempt; a second one at once if the server refuses a feature.

        Raises:
            Fault: If it fails.
        """
        while True:
            without = self.refused  # others under way may learn of a refusal while this one waits
            try:
                return await self._attempt(request, seed, without)
            except Fault as fault:
                if not fault.feature or fault.feature in without:
                    raise
                self.refused |= {fault.feature}

    async def _attempt(self, request: Request, seed: int, without: frozenset[str]) -> Reply:
        extra = self.endpoint.body if "seed" in without else {"seed": seed, **self.endpoint.body}
        data = encode_request(request, self.endpoint.model, without=without, extra=extra)
        status, headers, content = await self._post(self._url, data)
        if any(name.lower().startswith("x-ratelimit") for name in headers):
            self.rate_limits = {k.lower(): v for k, v in headers.items() if "ratelimit" in k.lower()}
        try:
            return read_response(status, headers, content)
        except Fault as fault:
            # Most servers live under /v1, and a base URL without it is the commonest slip.
            base_url = self.endpoint.base_url.rstrip("/")
            if fault.status == NOT_FOUND and not urlsplit(base_url).path:
                fault.advice = f"base URLs mostly end in /v1, try {base_url}/v1, else check the model's name"
            raise

    async def _post(
        self, url: str, data: bytes, *, most_bytes: int = MOST_BYTES
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the response.

        Raises:
            Fault: If there is none, or its body is longer than anything that is asked for.
        """
        import aiohttp

        if self._session is None:
            e = self.endpoint
            key = {"Authorization": f"Bearer {e.api_key}"} if e.api_key else {}
            self._session = aiohttp.ClientSession(
                headers={"Content-Type": "application/json", **key, **e.headers},
                timeout=aiohttp.ClientTimeout(total=e.timeout_s),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),  # nothing a model server sets is to be sent back to it
            )
        try:
            async with self._session.post(url, data=data) as response:
                return response.status, response.headers, await _read(response, most_bytes)
        except TimeoutError:
            raise Fault("time-out", "same") from None
        except aiohttp.ClientConnectorError:
            raise Fault("cannot connect", "same") from None
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError, ValueError) as error:
            raise Fault(f"connection broke ({type(error).__name__})", "same") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


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
