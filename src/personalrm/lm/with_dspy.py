"""A `dspy.BaseLM` for DSPy's programs whose every call goes through a `Caller`.

So DSPy shares cache, budget, limits and log with everything else. DSPy's own cache is
not used, and its own retries of transport have nothing to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from personalrm.errors import MissingExtra, ModelUnavailable, UnreadableReply
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Reply, Request, Sampling
from personalrm.preferences.messages import Message
from personalrm.wording import install_hint


def load_dspy() -> Any:
    """The dspy package (2 s to import, so only where it is used).

    Raises:
        MissingExtra: If dspy or optuna is not installed.
    """
    try:
        dspy = import_module("dspy")
        import_module("optuna")
    except ImportError as error:
        raise MissingExtra(
            f"MIPROv2 needs {error.name or 'dspy'!r}, which is not installed; {install_hint('optimize')}, or "
            "search with --method search, which needs nothing"
        ) from None
    return dspy


def dspy_lm(caller: Caller, *, temperature: float = 0.0, max_tokens: int = 1024, seed: int = 0) -> Any:
    """A `dspy.BaseLM` that asks this caller.

    Args:
        caller: Who asks; calls of DSPy are its stage `dspy`.
        temperature: Where DSPy sets none.
        max_tokens: Longest reply.
        seed: Added to DSPy's `rollout_id`, which tells apart calls that are to be answered anew.
    """
    base = load_dspy().BaseLM

    class CallerLM(base):  # type: ignore[misc, valid-type]  # the base exists only where DSPy is installed
        """One model, asked through our caller."""

        def forward(
            self, prompt: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, **given: Any
        ) -> Any:
            """What the model says, in OpenAI's layout."""
            options = {**self.kwargs, **given}
            turns = tuple(map(_as_message, messages or [{"role": "user", "content": prompt or ""}]))
            rollout = options.get("rollout_id")  # may be anything
            shift = 0 if rollout is None else int(hashlib.sha256(repr(rollout).encode()).hexdigest()[:6], 16)
            heat = temperature if options.get("temperature") is None else float(options["temperature"])
            requests = [
                Request(turns, Sampling(heat, max_tokens, seed + shift + sample), stage="dspy")
                for sample in range(int(options.get("n") or 1))
            ]
            return _as_completion(_ask(caller, requests), self.model)

    return CallerLM(caller.lm.name, temperature=temperature, max_tokens=max_tokens, cache=False)


def _as_message(message: Mapping[str, Any]) -> Message:
    """A message of DSPy's as ours; text parts are joined."""
    role, content = message.get("role"), message["content"]
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text", "")) for part in content)
    return Message(role if role in ("system", "user", "assistant") else "user", content)


def _ask(caller: Caller, requests: Sequence[Request]) -> list[Reply]:
    outcomes = caller.ask_all([Ask(lambda request=request: request, _read) for request in requests])  # type: ignore[misc]
    if any(outcome.is_stopped for outcome in outcomes):
        raise caller.stopped or ModelUnavailable("the run was stopped")
    replies = [outcome.value for outcome in outcomes if outcome.value is not None]
    if len(replies) < len(outcomes):
        raise UnreadableReply(next(outcome.reason for outcome in outcomes if outcome.value is None))
    return replies


def _read(reply: Reply) -> Reply:
    if not reply.text.strip():
        raise UnreadableReply("an empty reply")
    return reply


def _as_completion(replies: Sequence[Reply], model: str) -> Any:
    choices = [
        SimpleNamespace(
            index=n,
            finish_reason="stop",
            message=SimpleNamespace(role="assistant", content=reply.text, tool_calls=None, reasoning_content=None),
        )
        for n, reply in enumerate(replies)
    ]
    usage = {
        "prompt_tokens": sum(reply.usage.prompt_tokens for reply in replies),
        "completion_tokens": sum(reply.usage.completion_tokens for reply in replies),
    }
    usage["total_tokens"] = sum(usage.values())
    return SimpleNamespace(choices=choices, usage=usage, model=model)
