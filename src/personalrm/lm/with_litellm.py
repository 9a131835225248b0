"""Any provider LiteLLM knows (extra `litellm`), one attempt at a time."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any

from personalrm.errors import MissingExtra
from personalrm.lm.http import TIMED_OUT, Endpoint
from personalrm.lm.pacing import Turns
from personalrm.lm.protocol import Again, Fault, Reply, Request
from personalrm.lm.refusals import refusal_of
from personalrm.lm.wire import read_response, request_body
from personalrm.wording import install_hint

NO_KEY = "none"
"""Sent to a base URL of the user's when no key of ours is set."""
NEVER_S = 7 * 24 * 3600.0
"""A time-out that never comes; `Turns` ends what waits too long."""
_SIGNS: tuple[tuple[str, str, Again], ...] = (
    ("ContextWindowExceededError", "context too long", "never"),
    ("ContentPolicyViolationError", "content filter", "reseeded"),
    ("Timeout", "time-out", "same"),
    ("ConnectError", "cannot connect", "same"),
    ("APIConnectionError", "connection broke", "same"),
    ("JSONDecodeError", "broken JSON", "same"),
)
"""Names among an exception's causes, in the order they are looked for: LiteLLM tells most of them as status 500."""


class LiteLLM:
    """A model by its LiteLLM name, such as `anthropic/claude-3-5-haiku-latest`.

    LiteLLM's own retries and caches are off: ours count and keep.

    Args:
        endpoint: The model by its LiteLLM name; an empty base URL means the provider's own,
            with the provider's own key variables.

    Raises:
        MissingExtra: If LiteLLM is not installed.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        # Importing it downloads a price list from the internet otherwise, and waits for it; ours is in prices.json.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        try:
            import litellm
        except ImportError:
            raise MissingExtra(f"models named litellm/... need LiteLLM; {install_hint('litellm')}") from None
        litellm.suppress_debug_info = True  # it prints advice to standard output at each error, where our JSON goes
        self._litellm: Any = litellm
        self.endpoint = endpoint
        self.turns = Turns(endpoint.timeout_s)

    @property
    def name(self) -> str:
        """`litellm/` and the model's name."""
        return self.endpoint.name or f"litellm/{self.endpoint.model}"

    @property
    def identity(self) -> str:
        """LiteLLM, tenant, base URL, model and extra body, as canonical JSON."""
        e = self.endpoint
        return json.dumps(["litellm", e.tenant, e.base_url.rstrip("/"), e.model, dict(e.body)], sort_keys=True)

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt.

        Raises:
            Fault: If it fails, with the status LiteLLM's exception carries.
        """
        e = self.endpoint
        body = request_body(request, e.model, extra={"seed": seed, **e.body})
        # With a base URL and no key of ours LiteLLM would send that server OPENAI_API_KEY or what else it finds.
        key = e.api_key or (NO_KEY if e.base_url else None)
        ours = {"num_retries": 0, "max_retries": 0, "caching": False, "drop_params": True}
        where = {"api_base": e.base_url or None, "api_key": key, "extra_headers": dict(e.headers) or None}
        sent = [turn.content for turn in request.messages] + [e.api_key, *e.headers.values()]
        try:
            with self.turns.turn() as turn:
                completion = await self._litellm.acompletion(**body, **ours, **where, timeout=NEVER_S)
                if body.get("stream"):
                    completion = self._litellm.stream_chunk_builder([chunk async for chunk in completion])
                turn.is_answered = True
        except TimeoutError:
            raise Fault(TIMED_OUT, "same") from None
        except Exception as error:  # LiteLLM's exceptions share no base but Exception
            _raise_fault(error, sent)
            raise
        return read_response(200, {}, completion.model_dump_json().encode("utf-8"), sent)

    async def close(self) -> None:
        """End the tasks LiteLLM left in this loop; connections it keeps for the process."""
        names = {task: str(getattr(task.get_coro(), "__qualname__", "")) for task in asyncio.all_tasks()}
        left = [task for task, name in names.items() if name.startswith("LoggingWorker.")]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _raise_fault(error: Exception, sent: Sequence[str]) -> None:
    """Raise what LiteLLM's exception says, as a fault of ours; what its text quotes of the request stays behind.

    Raises:
        Fault: Always.
    """
    causes: set[str] = set()
    cause: BaseException | None = error
    while cause is not None:
        causes.add(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    for name, kind, again in _SIGNS:
        if name in causes:
            raise Fault(kind, again) from None
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        raise Fault(f"LiteLLM failed ({type(error).__name__})", "same") from None
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    wait = {"Retry-After": headers["retry-after"]} if "retry-after" in headers else {}
    raise refusal_of(status if status != 200 else 500, wait, str(error).encode("utf-8", "replace"), sent) from None
