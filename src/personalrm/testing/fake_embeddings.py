"""The `/embeddings` route of the fake server: vectors drawn from each text's hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from aiohttp import web


class FakeEmbeddings:
    """Answers the route; one text always gets the same vector of unit length.

    Args:
        dim: Width of the vectors.
        longest: Characters of the longest text it takes.
    """

    def __init__(self, dim: int = 16, longest: int = 10_000) -> None:
        self.dim, self.longest = dim, longest
        self.statuses: list[int] = []
        """What the next requests get instead of vectors, first to last."""
        self.bodies: list[bytes] = []
        """What the next requests get after that, as they are, with status 200."""
        self.n_requests = 0
        self.n_texts = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to one request."""
        self.n_requests += 1
        body = json.loads(await request.content.read())
        if self.statuses:
            return web.json_response({"error": {"message": "planned"}}, status=self.statuses.pop(0))
        if self.bodies:
            return web.Response(body=self.bodies.pop(0))
        if any(len(text) > self.longest for text in body["input"]):
            message = "this model's maximum context length is 8192 tokens"
            return web.json_response({"error": {"message": message}}, status=400)
        self.n_texts += len(body["input"])
        rows = [{"index": n, "embedding": self.vector(text).tolist()} for n, text in enumerate(body["input"])]
        usage = {"prompt_tokens": sum(map(len, body["input"])) // 4}
        return web.json_response({"data": rows[::-1], "model": body["model"], "usage": usage})

    def vector(self, text: str) -> Any:
        """What a text gets, shape `(dim,)`."""
        seed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        drawn = np.random.default_rng(list(seed)).normal(size=self.dim)
        return (drawn / np.linalg.norm(drawn)).astype(np.float32)
