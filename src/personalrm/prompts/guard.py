"""The question of a policy check: does a completion break the guidelines? Read by `replies.read_yes_or_no`."""

from __future__ import annotations

from personalrm.preferences.messages import Conversation, Message
from personalrm.prompts.delimiters import field, neutralize
from personalrm.prompts.rendering import conversation_messages, fill_template

MOST_CHARACTERS = 24_000
"""Of the conversation shown; the oldest turns go first."""


def policy_question(policy: str, conversation: Conversation, completion: str) -> tuple[Message, ...]:
    """Messages that ask whether a completion breaks a policy; the user's persona is not in them."""
    system = Message("system", fill_template("policy", {"policy": neutralize(policy)}))
    turns = conversation_messages(conversation, MOST_CHARACTERS).messages
    shown = "\n".join((*(turn.content for turn in turns), field("first", completion)))
    return (system, Message("user", shown))
