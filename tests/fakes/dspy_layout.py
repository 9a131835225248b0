"""Answers to prompts in DSPy's chat layout, so that a scripted model can stand behind a DSPy program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from personalrm.testing.skill import Messages, Rule

_WANTED = re.compile(r"\[\[ ## (\w+) ## \]\]`")


def in_dspy_layout(inner: Rule, say: Callable[[str, str], str]) -> Rule:
    """A rule that fills the fields DSPy asks for, and answers everything else as `inner` does.

    Args:
        inner: Answers our own prompts.
        say: The text of a field, from its name and the whole prompt.
    """

    def rule(messages: Messages) -> str:
        last = messages[-1]["content"]
        if "[[ ## " not in last:
            return inner(messages)
        return filled(wanted_fields(last), "\n".join(turn["content"] for turn in messages), say)

    return rule


def wanted_fields(shown: str) -> list[str]:
    """The fields that the end of DSPy's last message asks for, in order."""
    return [name for name in _WANTED.findall(shown.rpartition("Respond with")[2]) if name != "completed"]


def filled(names: Sequence[str], prompt: str, say: Callable[[str, str], str]) -> str:
    """A reply with these fields."""
    parts = [f"[[ ## {name} ## ]]\n{say(name, prompt)}" for name in names]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def by_field(texts: Mapping[str, str]) -> Callable[[str, str], str]:
    """The same text for a field whatever the prompt."""
    return lambda name, prompt: texts.get(name, "words")
