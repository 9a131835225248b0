"""Any provider LiteLLM knows (extra `litellm`), one attempt at a time."""

from __future__ import annotations

import json
from typing import Any

from personalrm.errors import MissingExtra
from personalrm.lm.faults import Fault
from personalrm.lm.protocol import Reply, Request
from personalrm.lm.wire import read_response, request_body


class LiteLLM:
    """A model by its LiteLLM name, such as `anthropic/claude-3-5-haiku-latest`.

    LiteLLM's own retries and caches are off: ours count and keep.
    """

    def __init__(
        self, model: str, *, api_base: str | None = None, api_key: str | None = None, timeout_s: float = 120.0
    ) -> None:
        try:
            import litellm
        except ImportError:
            raise MissingExtra(
                "models named litellm/... need LiteLLM; install it with pip install 'personalrm[litellm]'"
            ) from None
        self._litellm: Any = litellm
        self._model, self._api_base, self._api_key, self._timeout_s = model, api_base, api_key, timeout_s

    @property
    def name(self) -> str:
        """`litellm/` and the model's name."""
        return f"litellm/{self._model}"

    @property
    def identity(self) -> str:
        """Door, base URL and model, as canonical JSON."""
        return json.dumps(["litellm", self._api_base, self._model])

    async def complete(self, request: Request, *, seed: int) -> Reply:
        """One attempt.

        Raises:
            Fault: With the status LiteLLM's exception carries.
        """
        body = request_body(request, self._model, extra={"seed": seed})
        try:
            found = await self._litellm.acompletion(
                **body,
                api_base=self._api_base,
                api_key=self._api_key,
                timeout=self._timeout_s,
                num_retries=0,
                max_retries=0,
                drop_params=True,
            )
        except Exception as error:  # LiteLLM's exceptions share no base but Exception
            status = getattr(error, "status_code", None)
            if not isinstance(status, int):
                raise Fault(f"LiteLLM failed ({type(error).__name__})", "same") from None
            read_response(status if status != 200 else 500, {}, str(error).encode("utf-8", "replace"))
            raise
        return read_response(200, {}, found.model_dump_json().encode("utf-8"))

    async def close(self) -> None:
        """Nothing to close; LiteLLM keeps its clients."""
