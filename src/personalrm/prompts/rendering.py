"""A personal prompt as text: for a judge, for a writer, for a reader.

Pure functions. What many calls share comes first (instructions, persona,
demonstrations in a stable order), the pair last, so servers can reuse the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.prompts.delimiters import field

_SLOT = re.compile(r"\{\{(\w+)\}\}")


def judge_messages(
    prompt: PersonalPrompt,
    conversation: Conversation,
    first: str,
    second: str,
    *,
    max_characters: int | None = None,
) -> tuple[Message, ...]:
    """Messages that ask a chat model to judge as this user would.

    Args:
        prompt: What is known of the user.
        conversation: The turns before the completions.
        first: The completion shown first.
        second: The completion shown second.
        max_characters: Longest conversation to show; the oldest turns go first, the
            last one always stays, and the prompt says how many were left out.
    """
    known = {"persona": _persona(prompt.persona), "demonstrations": _demonstrations(prompt.demonstrations)}
    shown = "\n".join((_conversation(conversation, max_characters), field("first", first), field("second", second)))
    return (Message("system", _fill("judge", known)), Message("user", shown))


def generation_prompt(prompt: PersonalPrompt) -> str:
    """A system prompt that makes a chat model write as this user likes."""
    liked = "\n\n".join(
        f"{_conversation(d.shown.pair.conversation)}\nThey preferred:\n{field('first', d.shown.pair.chosen)}\n"
        f"over:\n{field('second', d.shown.pair.rejected)}"
        for d in prompt.demonstrations
    )
    demonstrations = f"Choices they made:\n\n{liked}\n\n" if liked else ""
    return _fill("generation", {"persona": _persona(prompt.persona), "demonstrations": demonstrations})


def as_markdown(prompt: PersonalPrompt) -> str:
    """The personal prompt for a reader: persona with evidence, demonstrations, notes."""
    lines = [f"# {_plain(prompt.user_id)}", ""]
    for claim in prompt.persona.claims:
        lines.append(f"- {_plain(claim.text)} ({len(claim.supporting)} pairs for, {len(claim.contradicting)} against)")
    if not prompt.persona.claims:
        lines.append(_plain(prompt.persona.note or "No persona."))
    if prompt.demonstrations:
        lines += ["", "## Demonstrations", ""]
    for demonstration in prompt.demonstrations:
        pair = demonstration.shown.pair
        lines.append(f"- {_plain(pair.id)}: {_plain(demonstration.reasoning or 'without reasoning')}")
    if prompt.notes:
        lines += ["", "## Notes", "", *(f"- {_plain(note)}" for note in prompt.notes)]
    lines += ["", f"Learned from {len(prompt.roles)} pairs by {_plain(prompt.judge)}, variant {prompt.variant}."]
    return "\n".join(lines) + "\n"


@cache
def _template(name: str) -> str:
    return (files("personalrm.prompts") / "templates" / f"{name}.md").read_text(encoding="utf-8")


def _fill(name: str, values: Mapping[str, str]) -> str:
    """The template with all slots filled in one pass, so filled-in text cannot open another slot."""
    return _SLOT.sub(lambda slot: values[slot.group(1)], _template(name))


def _persona(persona: Persona) -> str:
    return f"What is known of them:\n{field('persona', persona.text)}\n\n" if persona.claims else ""


def _demonstrations(demonstrations: tuple[Demonstration, ...]) -> str:
    shown = "\n\n".join(_demonstration(demonstration) for demonstration in demonstrations)
    return f"Choices they made:\n\n{shown}\n\n" if shown else ""


def _demonstration(demonstration: Demonstration) -> str:
    shown: OrderedPair = demonstration.shown
    parts = [_conversation(shown.pair.conversation), field("first", shown.first), field("second", shown.second)]
    if demonstration.reasoning is not None:
        parts.append(field("reasoning", demonstration.reasoning))
    parts.append(field("choice", shown.answer))
    return "\n".join(parts)


def _conversation(conversation: Conversation, max_characters: int | None = None) -> str:
    turns = list(conversation)
    while max_characters is not None and len(turns) > 1 and sum(len(turn.content) for turn in turns) > max_characters:
        turns.pop(0)
    n_left_out = len(conversation) - len(turns)
    note = [f"({n_left_out} older turns left out)"] if n_left_out else []
    return "\n".join([*note, *(field("turn", turn.content, f'role="{turn.role}"') for turn in turns)])


def _plain(text: str) -> str:
    """One line of Markdown that is text and nothing else."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))
