"""A sequence as token ids: the model's own chat template, or plain turns where it has none.

What is left out of a conversation depends on the conversation alone, so that completions of
one are compared under the same turns: half of the longest sequence is a completion's to take.
A longer conversation loses its oldest turns first (system turns and the last user turn stay),
then its middle; a completion that does not fit behind it loses its middle too. No text can
write a special token: nobody closes a turn, or begins another, by writing one's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.token_tree import Tokens, common_length

USUAL_NAMES = ("<|", "<s>", "</s>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "[CLS]", "[SEP]", "[MASK]")
"""What special tokens are called or begin with, for a model whose tokenizer we do not see."""


def special_names(tokenizer: Any) -> list[str]:
    """Names of a tokenizer's special tokens, the longest first."""
    # `all_special_tokens` are those with a role; Llama 3 has none for <|start_header_id|>, which forges a turn.
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    names = {*tokenizer.all_special_tokens, *added}
    return sorted((name for name in names if len(name) > 1), key=lambda name: (-len(name), name))


def harmless(text: str, names: Iterable[str] = USUAL_NAMES) -> str:
    """The text with each of the names broken by a space behind its first character.

    A lone surrogate is not a character to a tokenizer; it becomes a question mark.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    for name in names:
        text = text.replace(name, f"{name[0]} {name[1:]}")
    return text


OPENING_SHARE = 4
"""One part in so many of what is cut is its beginning, the rest its end."""


@dataclass(frozen=True, repr=False)
class FittingTokens:
    """Token ids that fit, and whether something was left out for it."""

    tokens: Tokens
    is_truncated: bool


def fit_tokens(tokenizer: Any, sequence: TextSequence, longest: int) -> FittingTokens:
    """The sequence's token ids, at most `longest`, never none."""
    tokens, completion = tokens_of(tokenizer, sequence), sequence.completion
    most = longest if completion is None else longest - longest // 2
    if len(tokens) <= most:
        return FittingTokens(tokens, False)
    conversation = sequence.conversation
    asked = tokens_of(tokenizer, TextSequence(conversation))
    while len(asked) > most:
        # The oldest turn goes, but for system turns and the last user turn.
        last_user = max((place for place, turn in enumerate(conversation) if turn.role == "user"), default=-1)
        oldest = next((place for place in range(last_user) if conversation[place].role != "system"), None)
        if oldest is None:
            break
        conversation = conversation[:oldest] + conversation[oldest + 1 :]
        asked = tokens_of(tokenizer, TextSequence(conversation))
    if conversation is not sequence.conversation:
        tokens = tokens_of(tokenizer, TextSequence(conversation, completion))
    # Templates may begin a completion in another way than they ask for it; only what is common is the conversation.
    border = common_length(tokens, asked)
    head = _without_middle(tokens[:border], most)
    fitted = head + _without_middle(tokens[border:], longest - len(head))
    return FittingTokens(fitted, conversation is not sequence.conversation or len(fitted) < len(tokens))


def tokens_of(tokenizer: Any, sequence: TextSequence) -> Tokens:
    """Token ids of the whole sequence; a conversation alone ends where a completion would start."""
    names = special_names(tokenizer)
    # Many templates refuse to begin with the assistant, so a completion alone is plain text.
    if sequence.conversation and getattr(tokenizer, "chat_template", None):
        turns = [{"role": turn.role, "content": harmless(turn.content, names)} for turn in sequence.conversation]
        if sequence.completion is not None:
            turns.append({"role": "assistant", "content": harmless(sequence.completion, names)})
        # The template brings its own special tokens; a second beginning-of-text would change every vector.
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=sequence.completion is None)
        return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return tuple(tokenizer(plain_text(sequence, names), verbose=False)["input_ids"])  # we cut it ourselves


def plain_text(sequence: TextSequence, names: Sequence[str] = USUAL_NAMES) -> str:
    """Turns line by line, for models without a chat template; a conversation alone ends with the assistant's name.

    Args:
        sequence: Turns and completion.
        names: Of special tokens, which no text may write; the usual ones where the tokenizer is out of sight.
    """
    turns = [f"{turn.role}: {harmless(turn.content, names)}" for turn in sequence.conversation]
    last = "assistant:" if sequence.completion is None else f"assistant: {harmless(sequence.completion, names)}"
    return "\n".join([*turns, last])


def _without_middle(tokens: Tokens, most: int) -> Tokens:
    opening = most // OPENING_SHARE
    return tokens if len(tokens) <= most else tokens[:opening] + tokens[len(tokens) - (most - opening) :]
