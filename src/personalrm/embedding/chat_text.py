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
from personalrm.errors import BadInput, MissingExtra
from personalrm.preferences.messages import Conversation
from personalrm.wording import absence, visible

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
    while len(asked) > most and (shorter := without_oldest_turn(conversation)) is not None:
        conversation = shorter
        asked = tokens_of(tokenizer, TextSequence(conversation))
    if conversation is not sequence.conversation:
        tokens = tokens_of(tokenizer, TextSequence(conversation, completion))
    # Templates may begin a completion in another way than they ask for it; only what is common is the conversation.
    border = common_length(tokens, asked)
    head = _without_middle(tokens[:border], most)
    fitted = head + _without_middle(tokens[border:], longest - len(head))
    return FittingTokens(fitted, conversation is not sequence.conversation or len(fitted) < len(tokens))


def without_oldest_turn(conversation: Conversation) -> Conversation | None:
    """The conversation without its oldest turn; None if only system turns and the last user turn could go."""
    last_user = max((place for place, turn in enumerate(conversation) if turn.role == "user"), default=-1)
    for place in range(last_user):
        if conversation[place].role != "system":
            return conversation[:place] + conversation[place + 1 :]
    return None


def tokens_of(tokenizer: Any, sequence: TextSequence) -> Tokens:
    """Token ids of the whole sequence; a conversation alone ends where a completion would start."""
    names = special_names(tokenizer)
    # Many templates refuse to begin with the assistant, so a completion alone is plain text.
    if sequence.conversation and getattr(tokenizer, "chat_template", None):
        turns = [{"role": turn.role, "content": harmless(turn.content, names)} for turn in sequence.conversation]
        if sequence.completion is not None:
            turns.append({"role": "assistant", "content": harmless(sequence.completion, names)})
        # The template brings its own special tokens; a second beginning-of-text would change every vector.
        text = rendered(tokenizer, turns, add_generation_prompt=sequence.completion is None)
        return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return tuple(tokenizer(plain_text(sequence, names), verbose=False)["input_ids"])  # we cut it ourselves


Turn = dict[str, str]
TEMPLATE_FAULTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a template raises besides Jinja's own errors."""


def rendered(tokenizer: Any, turns: Sequence[Turn], **options: Any) -> str:
    """The turns through the model's chat template.

    Templates differ in what they take: some refuse a system turn, a tool's turn, two turns of one role, or a
    conversation that the assistant begins. What is refused is written in a way that every template takes: a system
    turn in front of the user turn that follows, other roles than the assistant's as the user's, turns of one role
    joined. The same for every completion of a conversation, since it depends on the turns' roles alone.

    Args:
        tokenizer: Of the model.
        turns: Roles and contents.
        options: Of `apply_chat_template`.

    Raises:
        BadInput: If the template takes it in no way.
        MissingExtra: If jinja2 is not installed.
    """
    try:
        from jinja2 import TemplateError
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, "jinja2", "train")) from None
    reason = ""
    for written in (list, _without_system, _alternating):
        try:
            text: str = tokenizer.apply_chat_template(written(turns), tokenize=False, **options)
        except (TemplateError, *TEMPLATE_FAULTS) as error:
            reason = visible(" ".join(str(error).split()))[:80] or type(error).__name__
        else:
            return text
    roles = ", ".join(turn["role"] for turn in turns[:6])
    raise BadInput(f"the chat template of the model refuses turns of {roles} ({reason}); use another model, or mend it")


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """Each system turn in front of the user turn that follows; where another follows, or none, it is the user's."""
    found: list[Turn] = []
    told: list[str] = []
    for turn in (*turns, None):
        if turn is not None and turn["role"] == "system":
            told.append(turn["content"])
            continue
        if told and turn is not None and turn["role"] == "user":
            found.append(turn | {"content": "\n\n".join([*told, turn["content"]])})
        else:
            found += [{"role": "user", "content": "\n\n".join(told)}] if told else []
            found += [turn] if turn is not None else []
        told = []
    return found


def _alternating(turns: Sequence[Turn]) -> list[Turn]:
    """User and assistant in turn, the user first."""
    found: list[Turn] = []
    for turn in _without_system(turns):
        role = turn["role"] if turn["role"] == "assistant" else "user"
        if found and found[-1]["role"] == role:
            found[-1] = {"role": role, "content": "\n\n".join(filter(None, (found[-1]["content"], turn["content"])))}
        else:
            found.append({"role": role, "content": turn["content"]})
    return found if found[:1] and found[0]["role"] == "user" else [{"role": "user", "content": ""}, *found]


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
