"""Questions about personas: what they say, and whether it is what people say of themselves.

Three are those of concept induction in the manner of LLooM (Lam et al. 2024), with the reading of their answers:
distill a persona into phrases, synthesize a concept from phrases that stand together, score a persona against a
concept. Two hold a persona against a statement (paper 6.2, figure 15): are both about the same person, and which of
two statements did the person of a persona make? Their answers are read by `replies.read_yes_or_no` and `read_verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.errors import UnreadableReply
from personalrm.preferences.messages import Message
from personalrm.prompts.delimiters import field, neutralize
from personalrm.prompts.linting import is_order
from personalrm.prompts.rendering import fill_template
from personalrm.prompts.replies import json_objects

MOST_PHRASES = 5
MOST_CHARACTERS = 200
"""Of a phrase, name or criterion; what is longer is something else."""


@dataclass(frozen=True)
class ConceptName:
    """A concept as a model names it."""

    name: str
    criterion: str
    """One question of yes or no about a persona."""


def distill_question(persona: str) -> tuple[Message, ...]:
    """Messages that ask for the phrases of a persona."""
    return (Message("system", fill_template("distill", {})), Message("user", field("persona", persona)))


def concept_question(phrases: Sequence[str]) -> tuple[Message, ...]:
    """Messages that ask what phrases have in common."""
    shown = "\n".join(field("first", phrase) for phrase in phrases)
    return (Message("system", fill_template("concept", {})), Message("user", shown))


def score_question(criterion: str, persona: str) -> tuple[Message, ...]:
    """Messages that ask whether a persona fulfils a criterion."""
    system = fill_template("concept_score", {"criterion": neutralize(criterion)})
    return (Message("system", system), Message("user", field("persona", persona)))


def read_phrases(reply: str) -> tuple[str, ...]:
    """The phrases in a reply, at most `MOST_PHRASES`; orders and overlong ones are left out.

    Raises:
        UnreadableReply: If there is none.
    """
    listed = _object(reply).get("phrases")
    texts = [" ".join(str(phrase).split()) for phrase in listed] if isinstance(listed, list) else []
    kept = [text for text in dict.fromkeys(texts) if 0 < len(text) <= MOST_CHARACTERS and not is_order(text)]
    if not kept:
        raise UnreadableReply("no phrases in the reply")
    return tuple(kept[:MOST_PHRASES])


def read_concept(reply: str) -> ConceptName:
    """The concept in a reply.

    Raises:
        UnreadableReply: If name or criterion is missing, too long, or gives orders to a model.
    """
    content = _object(reply)
    name, criterion = (" ".join(str(content.get(key, "")).split()) for key in ("name", "criterion"))
    if not name or not criterion or max(len(name), len(criterion)) > MOST_CHARACTERS:
        raise UnreadableReply("no name and criterion in the reply")
    if is_order(name) or is_order(criterion):
        raise UnreadableReply("the concept gives orders")
    return ConceptName(name, criterion)


def _object(reply: str) -> dict[str, Any]:
    """The last JSON object of a reply."""
    objects = list(json_objects(reply))
    if not objects:
        raise UnreadableReply("no JSON object in the reply")
    return objects[-1]


def match_question(first: str, second: str) -> tuple[Message, ...]:
    """Messages that ask whether two texts are about the same person."""
    shown = f"{field('first', first)}\n{field('second', second)}"
    return (Message("system", fill_template("same_person", {})), Message("user", shown))


def choice_question(persona: str, first: str, second: str) -> tuple[Message, ...]:
    """Messages that ask which of two statements the person of a persona made."""
    shown = f"{field('persona', persona)}\n{field('first', first)}\n{field('second', second)}"
    return (Message("system", fill_template("which_statement", {})), Message("user", shown))
