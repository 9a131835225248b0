"""One turn of a conversation, and what makes a conversation usable.

Decides which roles and contents are accepted and how a conversation is written
down as one canonical string (for hashes and grouping). Knows nothing of pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from personalrm.errors import BadRow

Role = Literal["user", "assistant", "system", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """One turn: who speaks and what is said."""

    role: Role
    """`user`, `assistant`, `system` or `tool`."""
    content: str
    """Text; may be empty, since people do send empty turns."""

    def __repr__(self) -> str:
        return f"Message(role={self.role!r}, characters={len(self.content)})"


Conversation = tuple[Message, ...]


def check_conversation(conversation: Sequence[Message]) -> Conversation:
    """The conversation as a tuple, after checking that a completion can follow it.

    Raises:
        BadRow: If there is no turn, no user turn, or the last turn is an assistant's.
    """
    turns = tuple(conversation)
    if not turns:
        raise BadRow("the conversation has no turns", field="conversation", rule="no turns")
    if not any(turn.role == "user" for turn in turns):
        raise BadRow("the conversation has no user turn", field="conversation", rule="no user turn")
    if turns[-1].role == "assistant":
        raise BadRow(
            "the conversation ends with the assistant, so there is nothing to answer; drop the last turn",
            field="conversation",
            rule="ends with the assistant",
        )
    return turns


# Made once: json.dumps makes an encoder a call, a third of the cost of a digest, and draws are keyed by digests.
_canonical = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode


def digest(*parts: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the parts, written as canonical JSON."""
    return hashlib.sha256(_canonical(parts).encode("ascii")).hexdigest()[:16]


def conversation_digest(conversation: Sequence[Message]) -> str:
    """A hash of the conversation's text, equal for equal texts."""
    return digest([[turn.role, turn.content] for turn in conversation])
