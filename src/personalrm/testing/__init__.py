"""Fakes we ship and use: tiny users, scripted judges, a scripted language model, a fake model server.

The server is in `personalrm.testing.fake_server` (also `python -m
personalrm.testing.fake_server`), its faults in `personalrm.testing.faults`, judges of
known skill in `personalrm.testing.skill`.
"""

from personalrm.testing.scripted_lm import ScriptedLM
from personalrm.testing.users import (
    LONG,
    SHORT,
    ScriptedJudge,
    prefer_shorter,
    tiny_pair,
    tiny_users,
    write_pairs,
)

__all__ = ["LONG", "SHORT", "ScriptedJudge", "ScriptedLM", "prefer_shorter", "tiny_pair", "tiny_users", "write_pairs"]
