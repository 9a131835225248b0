"""The `/embeddings` route of an OpenAI-compatible server, as a model whose replies are vectors.

Speaking the protocol of `LM` gives it everything `Caller` has: retries, limits, budget,
single flight. A request's messages are the texts; a reply's text holds their vectors.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from personalrm.errors import UnreadableReply
from personalrm.lm.addresses import route_url
from personalrm.lm.http import OK, Endpoint, OpenAIServer
from personalrm.lm.protocol import Fault, Reply, Request, Sampling, Usage
from personalrm.lm.wire import read_response
from personalrm.preferences.messages import Message

SERVER_ERROR, TOO_MANY = 500, 429
MOST_READ = 4000
"""Bytes read of a refusal."""
MOST_BYTES, MOST_BYTES_A_TEXT = 2**20, 2**19
"""No answer is as long: a vector of width 16,384 as JSON takes 350 KB."""
TOO_MANY_TEXTS, NOT_FINITE, NOT_EMBEDDINGS = "too many texts", "a vector that is not finite", "not embeddings"
_LIMIT = re.compile(
    r"batch[ _-]?size|(too many|number of|array of|maximum of|at most|up to) [\w\s']*(inputs?|texts?|requests|items"
    r"|documents|strings|elements)|inputs? (array|list)|tokens (in|per) (the |submitted )*(batch|request)",
    re.IGNORECASE,
)
"""How servers say that a request holds too many texts; what it may hold is mostly the last number they name."""
_PHYSICAL = re.compile(r"physical batch|micro[ -]?batch|ubatch", re.IGNORECASE)
"""Of llama.cpp, which means the length of a text."""
_AS_TEXT = re.compile(r"(valid|be a|be of type|expected|type) '?\"?str(ing)?\b", re.IGNORECASE)
"""How servers say that they want the text itself, not a list of one."""
_NAN = re.compile(rb"\bNaN\b|[Nn]ot a number|not finite|[Ii]nfinit")
Vectors = npt.NDArray[np.float32]


class EmbeddingServer(OpenAIServer):
    """The embedding model of an endpoint; connects at the first call."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.most_texts: int | None = None
        """Texts a request may hold, where the server has said so."""
        self._format = {"encoding_format": "float"}
        self._takes_lists = True

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt; the seed plays no part.

        Raises:
            Fault: If it fails.
        """
        texts = [message.content for message in request.messages]
        told = texts if self._takes_lists or len(texts) > 1 else texts[0]
        body = {"model": self.endpoint.model, "input": told, **self._format, **self.endpoint.body}
        url = route_url(self.endpoint.base_url, "/embeddings")
        most_bytes = MOST_BYTES + len(texts) * MOST_BYTES_A_TEXT
        status, headers, raw = await self._post(url, json.dumps(body).encode("ascii"), most_bytes=most_bytes)
        if status != OK:
            self._read_refusal(status, raw, body)
        try:
            content = json.loads(raw) if status == OK else {}
            vectors = _vectors(content, len(texts))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # Errors, HTML and broken bodies are told apart as for any other route; what is left is a stranger's JSON.
            read_response(status, headers, raw, self._sent(request))
            raise Fault(NOT_EMBEDDINGS, "same") from None
        if not np.isfinite(vectors).all():
            raise Fault(NOT_FINITE, "reseeded")
        usage = content.get("usage") if isinstance(content, dict) else None
        n_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
        text = f"{len(texts)} {base64.b64encode(vectors.tobytes()).decode('ascii')}"
        model = str(content.get("model", "")) if isinstance(content, dict) else ""
        return Reply(text, usage=Usage(n_tokens if isinstance(n_tokens, int) else 0), model=model)

    def _read_refusal(self, status: int, raw: bytes, sent: Mapping[str, Any]) -> None:
        """What embedding servers refuse in words of their own; all else is told apart as for other routes.

        Others may be under way in the same form, so what counts is what was sent.

        Raises:
            Fault: If it is one of these.
        """
        says = raw[:MOST_READ].decode("utf-8", "replace")
        n_texts = len(sent["input"]) if isinstance(sent["input"], list) else 1
        if "encoding_format" in sent and status < SERVER_ERROR and "encoding_format" in says:
            self._format = {}
            raise Fault("encoding_format refused", "changed", status=status, usage=Usage())
        if _NAN.search(raw[:MOST_READ]) and status >= SERVER_ERROR:
            raise Fault(NOT_FINITE, "reseeded", status=status)
        wants_text = status < SERVER_ERROR and status != TOO_MANY and _AS_TEXT.search(says) is not None
        if wants_text and n_texts == 1 and isinstance(sent["input"], list):
            self._takes_lists = False
            raise Fault("a list of texts refused", "changed", status=status, usage=Usage())
        if wants_text and n_texts > 1:
            self.most_texts = 1
            raise Fault(TOO_MANY_TEXTS, "never", status=status)
        if n_texts > 1 and _LIMIT.search(says) and not _PHYSICAL.search(says) and status != TOO_MANY:
            numbers = [int(number) for number in re.findall(r"\b\d{1,4}\b", says)]
            smaller = [number for number in numbers if 0 < number < n_texts]
            self.most_texts = min(self.most_texts or n_texts, smaller[-1] if smaller else max(1, n_texts // 2))
            raise Fault(TOO_MANY_TEXTS, "never", status=status)


def _vectors(content: Any, n_texts: int) -> Vectors:
    """The vectors of an answer in the order of the texts, shape `(texts, dim)`.

    Some servers send base64 whatever was asked, wrap a vector in a list, or say no index or the same for all.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: If they are not there.
    """
    rows = content["data"] if isinstance(content, dict) else content
    if sorted(row.get("index", -1) for row in rows) == list(range(n_texts)):
        rows = sorted(rows, key=lambda row: row["index"])
    vectors = [_vector(row["embedding"]) for row in rows]
    if len(vectors) != n_texts or not vectors[0].size or len({vector.shape for vector in vectors}) > 1:
        raise ValueError("not a vector a text")
    return np.stack(vectors)


def _vector(told: Any) -> Vectors:
    if isinstance(told, str):
        return np.frombuffer(base64.b64decode(told, validate=True), dtype="<f4")
    if len(told) == 1 and isinstance(told[0], list):
        told = told[0]
    vector = np.array(told, dtype="<f4")  # null, which JSON has for NaN, becomes one
    if vector.ndim != 1 or any(isinstance(value, str) for value in told):
        raise ValueError("not a vector")
    return vector


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
