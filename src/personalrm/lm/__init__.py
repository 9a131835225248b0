"""Language models: protocol, servers, kept answers, retries, limits, budgets, usage. Nothing else talks to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.lm.batch import Caller
    from personalrm.lm.embeddings import EmbeddingServer
    from personalrm.lm.http import Endpoint
    from personalrm.lm.protocol import LM, Reply, Request
    from personalrm.lm.reward_server import RewardServer
    from personalrm.lm.settings import Budget, Limits, Retry
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Budget",
    "Caller",
    "EmbeddingServer",
    "Endpoint",
    "LM",
    "Limits",
    "Reply",
    "Request",
    "Retry",
    "RewardServer",
]
