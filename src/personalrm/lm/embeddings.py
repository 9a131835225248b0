"""The `/embeddings` route of an OpenAI-compatible server, as a model whose replies are vectors.

Speaking the protocol of `LM` gives it everything `Caller` has: retries, limits, budget,
single flight. A request's messages are the texts; a reply's text holds their vectors.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from personalrm.errors import UnreadableReply
from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.protocol import Fault, Reply, Request, Sampling, Usage
from personalrm.lm.wire import read_response
from personalrm.preferences.messages import Message

MOST_BYTES = 256 * 2**20
"""A longer body is no answer: 64 vectors of width 16,384 as JSON take a tenth of it."""
Vectors = npt.NDArray[np.float32]


class EmbeddingServer(OpenAIServer):
    """The embedding model of an endpoint; connects at the first call."""

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt; the seed plays no part.

        Raises:
            Fault: If it fails.
        """
        import aiohttp

        texts = [message.content for message in request.messages]
        body = {"model": self.endpoint.model, "input": texts, "encoding_format": "float", **self.endpoint.body}
        url = self.endpoint.base_url.rstrip("/") + "/embeddings"
        try:
            async with self._opened().post(url, data=json.dumps(body).encode("ascii")) as response:
                if (response.content_length or 0) > MOST_BYTES:
                    raise Fault("body too large", "same")
                content = await response.read()
                return _read_vectors(response.status, response.headers, content, len(texts))
        except TimeoutError:
            raise Fault("time-out", "same") from None
        except aiohttp.ClientConnectorError:
            raise Fault("cannot connect", "same") from None
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError) as error:
            raise Fault(f"connection broke ({type(error).__name__})", "same") from None


def embedding_request(texts: tuple[str, ...], *, user_id: str = "") -> Request:
    """A request for the vectors of some texts."""
    messages = tuple(Message("user", text) for text in texts)
    return Request(messages, Sampling(max_tokens=1), stage="embedding", user_id=user_id)


def vectors_of(reply: Reply) -> Vectors:
    """The vectors in a reply of `EmbeddingServer`, shape `(texts, dim)`.

    Raises:
        UnreadableReply: If the reply is of another kind of model.
    """
    try:
        n, _, content = reply.text.partition(" ")
        return np.frombuffer(base64.b64decode(content, validate=True), dtype="<f4").reshape(int(n), -1)
    except ValueError:
        raise UnreadableReply("no vectors") from None


def _read_vectors(status: int, headers: Any, body: bytes, n_texts: int) -> Reply:
    try:
        content = json.loads(body) if status == 200 else {}
        rows = sorted(content["data"], key=lambda row: row["index"])
        found = np.array([row["embedding"] for row in rows], dtype="<f4")
    except (ValueError, KeyError, TypeError, RecursionError):
        # Errors, HTML and broken bodies are told apart as for any other route; what is left is a stranger's JSON.
        read_response(status, headers, body)
        raise Fault("not embeddings", "same") from None
    if found.ndim != 2 or len(found) != n_texts or not np.isfinite(found).all():
        raise Fault("not embeddings", "same")
    usage = content.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    text = f"{n_texts} {base64.b64encode(found.tobytes()).decode('ascii')}"
    return Reply(text, "stop", Usage(counted if isinstance(counted, int) else 0), model=str(content.get("model", "")))


__all__ = ["EmbeddingServer", "Endpoint", "embedding_request", "vectors_of"]
