"""The two questions about a persona and what people say of themselves (paper 6.2, figure 15).

Are a persona and a statement about the same person? Which of two statements did the
person of a persona make? Answers are read by `replies.read_yes_or_no` and `read_verdict`.
"""

from __future__ import annotations

from personalrm.preferences.messages import Message
from personalrm.prompts.delimiters import field
from personalrm.prompts.rendering import fill_template


def match_question(first: str, second: str) -> tuple[Message, ...]:
    """Messages that ask whether two texts are about the same person."""
    shown = f"{field('first', first)}\n{field('second', second)}"
    return (Message("system", fill_template("same_person", {})), Message("user", shown))


def choice_question(persona: str, first: str, second: str) -> tuple[Message, ...]:
    """Messages that ask which of two statements the person of a persona made."""
    shown = f"{field('persona', persona)}\n{field('first', first)}\n{field('second', second)}"
    return (Message("system", fill_template("which_statement", {})), Message("user", shown))
