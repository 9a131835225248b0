"""What a server tells of itself beside its answers: how many requests it answers at one time, how long they may be.

No standard says where. The places and names below are those of llama.cpp (and what is built on it), SGLang, vLLM, LM
Studio, Ollama, the two servers of Hugging Face, and of providers that list their models with lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SLOT_SOURCES = ("/props", "/get_server_info")
"""Routes beside `/v1` that say how many requests are answered at one time."""
SOURCES = (*SLOT_SOURCES, "/v1/models", "/info", "/api/v0/models", "/api/ps")
_SLOTS = ("total_slots", "max_running_requests")
_LENGTHS = (
    "n_ctx", "loaded_context_length", "max_model_len", "context_length", "context_window", "max_context_length",
    "max_total_tokens", "max_input_length",
)  # fmt: skip
MOST_DEEP = 5


@dataclass(frozen=True)
class ServerFacts:
    """What is known; None is not told."""

    n_slots: int | None = None
    """Requests that are answered at one time."""
    context_tokens: int | None = None
    """Longest prompt and reply together, for one request."""

    def and_from(self, content: Any, model: str) -> ServerFacts:
        """These facts, and what else the JSON of a route says; of a list of models, what it says of this one."""
        if isinstance(content, dict):
            for name in ("data", "models"):
                if isinstance(listed := content.get(name), list):
                    rows = [row for row in listed if isinstance(row, dict)]
                    named = [row for row in rows if model in (row.get("id"), row.get("name"), row.get("model"))]
                    content = named[0] if named else rows[0] if len(rows) == 1 else None
                    break
        return ServerFacts(
            self.n_slots or _number(content, _SLOTS, MOST_DEEP),
            self.context_tokens or _number(content, _LENGTHS, MOST_DEEP),
        )


def _number(content: Any, names: Sequence[str], deep: int) -> int | None:
    """The first positive whole number under one of the names, the nearest to the top."""
    if isinstance(content, list):
        content = dict(enumerate(content[:1]))  # such as one state for each of several equal engines
    if not isinstance(content, dict) or not deep:
        return None
    for name in names:
        value = content.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    inner = (_number(value, names, deep - 1) for value in content.values())
    return next((value for value in inner if value is not None), None)
