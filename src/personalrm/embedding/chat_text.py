"""A sequence as token ids: the model's own chat template, or plain turns where it has none.

What is too long loses its oldest turns first (system turns and the last user turn stay),
then its middle: the beginning of what is left and the end of the completion are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.token_tree import Tokens
from personalrm.preferences.messages import Conversation, Message

OPENING_SHARE = 4
"""One part in so many of a cut sequence is its beginning, the rest its end."""


@dataclass(frozen=True, repr=False)
class Fitted:
    """Token ids that fit, and whether something was left out for it."""

    tokens: Tokens
    is_truncated: bool


def fit_tokens(tokenizer: Any, sequence: TextSequence, longest: int) -> Fitted:
    """The sequence's token ids, at most `longest`, never none."""
    conversation = sequence.conversation
    tokens = tokens_of(tokenizer, TextSequence(conversation, sequence.completion))
    if len(tokens) <= longest:
        return Fitted(tokens, False)
    while len(tokens) > longest and (shorter := _without_oldest(conversation)) is not None:
        conversation = shorter
        tokens = tokens_of(tokenizer, TextSequence(conversation, sequence.completion))
    if len(tokens) > longest:
        opening = longest // OPENING_SHARE
        tokens = tokens[:opening] + tokens[len(tokens) - (longest - opening) :]
    return Fitted(tokens, True)


def tokens_of(tokenizer: Any, sequence: TextSequence) -> Tokens:
    """Token ids of the whole sequence; a conversation alone ends where a completion would start."""
    # Many templates refuse to begin with the assistant, so a completion alone is plain text.
    if sequence.conversation and getattr(tokenizer, "chat_template", None):
        turns = [{"role": turn.role, "content": _clean(turn.content)} for turn in sequence.conversation]
        if sequence.completion is not None:
            turns.append({"role": "assistant", "content": _clean(sequence.completion)})
        # The template brings its own special tokens; a second beginning-of-text would change every vector.
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=sequence.completion is None)
        found = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    else:
        found = tokenizer(plain_text(sequence), verbose=False)["input_ids"]  # we cut it ourselves
    return tuple(found)


def plain_text(sequence: TextSequence) -> str:
    """Turns line by line, for models without a chat template; a conversation alone ends with the assistant's name."""
    turns = [f"{turn.role}: {_clean(turn.content)}" for turn in sequence.conversation]
    last = "assistant:" if sequence.completion is None else f"assistant: {_clean(sequence.completion)}"
    return "\n".join([*turns, last])


def _without_oldest(conversation: Conversation) -> tuple[Message, ...] | None:
    """The conversation without its oldest turn that may go; None when only system and the last user turn are left."""
    last_user = max((place for place, turn in enumerate(conversation) if turn.role == "user"), default=-1)
    for place, turn in enumerate(conversation):
        if turn.role != "system" and place < last_user:
            return conversation[:place] + conversation[place + 1 :]
    return None


def _clean(text: str) -> str:
    """Text a tokenizer takes: a lone surrogate is no character."""
    return text.encode("utf-8", "replace").decode("utf-8")
