"""The two questions of the personalizable filter (paper, appendix C).

Would reasonable users disagree about how a request should be answered? Do two
completions differ in a way that taste could decide? Answers are read by
`replies.read_yes_or_no`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.preferences.messages import Conversation, Message
from personalrm.prompts.delimiters import field
from personalrm.prompts.rendering import conversation_messages, fill_template, pair_messages

_USER = 'role="user"'


@dataclass(frozen=True, repr=False)
class LabeledQuery:
    """A request with the answer a person gave."""

    query: str
    disagree: bool
    """Whether reasonable users would disagree about how it should be answered."""


def query_question(
    conversation: Conversation, examples: Sequence[LabeledQuery] = (), max_characters: int | None = None
) -> tuple[Message, ...]:
    """Messages that ask whether reasonable users would disagree about how a conversation should be answered.

    Args:
        conversation: The turns before the answer.
        examples: Labeled requests to show first (few-shot); none is zero-shot.
        max_characters: Longest conversation to show; the oldest turns go first.
    """
    shown = "\n\n".join(
        f"{field('turn', example.query, _USER)}\n{field('choice', 'yes' if example.disagree else 'no')}"
        for example in examples
    )
    known = {"examples": f"Requests that people have decided about:\n\n{shown}\n\n" if shown else ""}
    turns = conversation_messages(conversation, max_characters).messages
    return (Message("system", fill_template("personalizable_query", known)), *turns)


def pair_question(
    conversation: Conversation, first: str, second: str, max_characters: int | None = None
) -> tuple[Message, ...]:
    """Messages that ask whether two completions differ in a way that taste could decide."""
    system = Message("system", fill_template("personalizable_pair", {}))
    return (system, *pair_messages(conversation, first, second, max_characters).messages)
