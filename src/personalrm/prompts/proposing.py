"""Prompts that ask for better instructions, and reading what comes back (in the manner of MIPROv2's proposer).

Pure text, and our own words: look at the data, sum it up, propose. What a model proposes
will stand in front of every persona, so it is checked before it is tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.errors import UnreadableReply
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Message
from personalrm.preferences.persona_prompts import ExamplePersona, PersonaPrompt
from personalrm.prompts.delimiters import field
from personalrm.prompts.linting import is_order
from personalrm.prompts.rendering import choices_shown, examples_shown, fill_template
from personalrm.prompts.replies import json_objects

TIPS = (
    "Keep what works in the instruction and make it clearer.",
    "Be inventive: try a way of describing people that the instruction does not use.",
    "Be brief: no more than three sentences.",
    "Be thorough: list one by one what to look at.",
    "Have it weigh evidence: what holds in most choices comes first, exceptions with their conditions.",
    "Have it describe the person as a careful interviewer would, with needs and reasons behind the choices.",
    "Have it aim at the close calls, where both completions are good and taste decides.",
)
LONGEST = 4_000
"""Characters of an instruction; what is longer is not tried."""
MOST_EXAMPLES = 2


def observe_messages(demonstrations: Sequence[Demonstration]) -> tuple[Message, ...]:
    """Messages that ask what foretells one person's choices."""
    return (Message("system", fill_template("observe", {})), Message("user", choices_shown(demonstrations)))


def summarize_messages(observations: Sequence[str]) -> tuple[Message, ...]:
    """Messages that ask for a summary of such notes."""
    notes = "\n\n".join(field("reasoning", observation) for observation in observations)
    return (Message("system", fill_template("summarize", {})), Message("user", notes))


def propose_messages(
    number: int, current: PersonaPrompt, summary: str, examples: Sequence[ExamplePersona]
) -> tuple[Message, ...]:
    """Messages that ask for one instruction; the tip goes with the number."""
    shown = examples_shown(examples[:MOST_EXAMPLES])
    values = {
        "summary": field("summary", summary or "nothing yet"),
        "examples": f"Personas that foretold choices well:\n\n{shown}\n\n" if shown else "",
        "current": field("instruction", current.instruction),
        "number": str(number),
        "tip": TIPS[number % len(TIPS)],
    }
    return (Message("user", fill_template("propose", values)),)


def read_words(reply: str, key: str) -> str:
    """The text under a key of the reply's JSON object, or the whole reply where there is none.

    Raises:
        UnreadableReply: If nothing is said.
    """
    values = [content[key] for content in json_objects(reply) if isinstance(content.get(key), str)]
    words = (values[-1] if values else "" if "{" in reply else reply).strip()
    if not words:
        raise UnreadableReply(f"no {key} in the reply")
    return words


def read_instruction(reply: str) -> str:
    """The instruction in a reply.

    Raises:
        UnreadableReply: If there is none, it is too long, or it tries to decide pairs instead of describing people.
    """
    words = read_words(reply, "instruction")
    if len(words) > LONGEST:
        raise UnreadableReply(f"the instruction is longer than {LONGEST} characters")
    if is_order(words):
        raise UnreadableReply("the instruction gives orders to a judge")
    return words
