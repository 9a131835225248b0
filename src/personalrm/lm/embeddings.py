"""The `/embeddings` route of an OpenAI-compatible server, as a model whose replies are vectors.

Speaking the protocol of `LM` gives it everything `Caller` has: retries, limits, budget,
single flight. A request's messages are the texts; a reply's text holds their vectors.
"""

from __future__ import annotations

import base64
import json

import numpy as np
import numpy.typing as npt

from personalrm.errors import UnreadableReply
from personalrm.lm.addresses import route_url
from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.protocol import Fault, Reply, Request, Sampling, Usage
from personalrm.lm.wire import read_response
from personalrm.preferences.messages import Message

MOST_BYTES = 256 * 2**20
"""No answer is as long: 64 vectors of width 16,384 as JSON take a tenth of it."""
Vectors = npt.NDArray[np.float32]


class EmbeddingServer(OpenAIServer):
    """The embedding model of an endpoint; connects at the first call."""

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt; the seed plays no part.

        Raises:
            Fault: If it fails.
        """
        texts = [message.content for message in request.messages]
        body = {"model": self.endpoint.model, "input": texts, "encoding_format": "float", **self.endpoint.body}
        url = route_url(self.endpoint.base_url, "/embeddings")
        status, headers, raw = await self._post(url, json.dumps(body).encode("ascii"), most_bytes=MOST_BYTES)
        try:
            content = json.loads(raw) if status == 200 else {}
            rows = sorted(content["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], dtype="<f4")
        except (ValueError, KeyError, TypeError, RecursionError):
            # Errors, HTML and broken bodies are told apart as for any other route; what is left is a stranger's JSON.
            read_response(status, headers, raw)
            raise Fault("not embeddings", "same") from None
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise Fault("not embeddings", "same")
        usage = content.get("usage")
        n_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
        text = f"{len(texts)} {base64.b64encode(vectors.tobytes()).decode('ascii')}"
        model = str(content.get("model", ""))
        return Reply(text, usage=Usage(n_tokens if isinstance(n_tokens, int) else 0), model=model)


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


__all__ = ["EmbeddingServer", "Endpoint", "embedding_request", "vectors_of"]
