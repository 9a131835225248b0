"""Fakes we ship and use: tiny users, scripted judges, a scripted language model, a fake model server, tiny models.

`python -m personalrm.testing.fake_server` serves one on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.testing.coaching import coached
    from personalrm.testing.fake_server import FakeServer
    from personalrm.testing.faults import Faults
    from personalrm.testing.scripted_lm import ScriptedLM
    from personalrm.testing.scripted_models import THREE_MODELS, served
    from personalrm.testing.skill import skilled
    from personalrm.testing.tiny_models import save_tiny_model
    from personalrm.testing.users import LONG, SHORT, ScriptedJudge, prefer_shorter, tiny_pair, tiny_users, write_pairs
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "FakeServer",
    "Faults",
    "LONG",
    "SHORT",
    "ScriptedJudge",
    "ScriptedLM",
    "THREE_MODELS",
    "coached",
    "prefer_shorter",
    "save_tiny_model",
    "served",
    "skilled",
    "tiny_pair",
    "tiny_users",
    "write_pairs",
]
