"""The three questions of concept induction in the manner of LLooM (Lam et al. 2024), and the reading of their answers.

Distill a persona into phrases, synthesize a concept from phrases that stand together,
score a persona against a concept.
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
