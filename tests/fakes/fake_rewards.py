"""A fake reward-model server: the shapes of vLLM's `/classify`, `/pooling` and `/score` answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from aiohttp import web

Rule = Callable[[str], float]


class FakeRewardServer:
    """The server in a thread of its own; remembers every body.

    Args:
        rule: Reward of all text of a request.
        statuses: Answered first, in turn, instead of rewards.
    """

    def __init__(self, rule: Rule, *, statuses: tuple[int, ...] = ()) -> None:
        self._rule, self._statuses = rule, list(statuses)
        self.bodies: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._port = 0

    @property
    def url(self) -> str:
        """The server's root."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> FakeRewardServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=2**24)
        for route in ("classify", "pooling", "score"):
            app.router.add_post(f"/{route}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        if self._statuses:
            return web.json_response({"error": {"message": "fault"}}, status=self._statuses.pop(0))
        if "messages" in body:
            text = "\n".join(turn["content"] for turn in body["messages"])
        else:
            text = body.get("input") or f"{body['text_1']}\n{body['text_2']}"
        reward = self._rule(text)
        shapes: dict[str, dict[str, Any]] = {
            "/classify": {"index": 0, "label": "LABEL_0", "probs": [reward], "num_classes": 1},
            "/pooling": {"index": 0, "object": "pooling", "data": [[0.5], [reward]]},
            "/score": {"index": 0, "object": "score", "score": reward},
        }
        return web.json_response({"data": [shapes[request.path]], "usage": {"prompt_tokens": len(text) // 4}})
