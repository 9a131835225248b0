"""Conversation and completion as token ids, ending at the token that closes the completion.

Decides how a chat template is used: exactly one beginning-of-sequence token, no
generation prompt, nothing behind the closing token, no text that can forge a special
token, oldest turns left out where a sequence is too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from personalrm.embedding.chat_text import harmless, rendered, special_names, without_oldest_turn
from personalrm.embedding.quiet_loading import load_pretrained
from personalrm.embedding.token_tree import Tokens, common_length
from personalrm.errors import BadInput
from personalrm.preferences.messages import Conversation, Message

PADDINGS = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<|vision_pad|>")
"""Reserved tokens that may pad, in order of preference."""
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}{{ eos_token }}\n{% endfor %}"
)
"""For base models, whose tokenizers have no chat template."""


@dataclass(frozen=True, repr=False)
class ChatPrefix:
    """Everything before a completion."""

    system: str
    """What is told of the user; empty for nothing."""
    conversation: Conversation

    def __repr__(self) -> str:
        return f"ChatPrefix(system_characters={len(self.system)}, turns={len(self.conversation)})"


@dataclass(frozen=True, repr=False)
class Tokenized:
    """The completions of one question as token ids."""

    sequences: tuple[Tokens, ...]
    n_turns_left_out: int = 0
    """Oldest turns that did not fit; the same for all completions, so that they are compared under one question."""
    n_tokens_cut: int = 0
    """Tokens cut where even the last user turn was too long, from the front, the first token kept."""


class ChatTokenizer:
    """A Hugging Face tokenizer, used in one way only.

    Args:
        tokenizer: With or without a chat template.
        max_tokens: Longest sequence.
        config: Of the model; a sequence is never longer than it has positions.
    """

    def __init__(self, tokenizer: Any, max_tokens: int = 8192, *, config: Any = None) -> None:
        if max_tokens < 2:
            raise BadInput(f"max_tokens must be at least 2, got {max_tokens!r}")
        self.tokenizer, self.max_tokens = tokenizer, min(max_tokens, positions_of(config) or max_tokens)

    def tokenize(self, question: ChatPrefix, completions: Sequence[str]) -> Tokenized:
        """The question with each completion, each ending at its closing token.

        Where the longest is over `max_tokens`, oldest turns are left out, the same for all; what is told of the
        user, the last user turn and the completions stay.
        """
        shown, n_left_out = question, 0
        while True:
            sequences = tuple(self._tokens(shown, completion) for completion in completions)
            longest = max(map(len, sequences), default=0)
            if longest <= self.max_tokens or (turns := without_oldest_turn(shown.conversation)) is None:
                break
            shown, n_left_out = replace(shown, conversation=turns), n_left_out + 1
        most = self.max_tokens
        cut = tuple(ids if len(ids) <= most else (ids[0], *ids[len(ids) - most + 1 :]) for ids in sequences)
        return Tokenized(cut, n_left_out, max(0, longest - most))

    def user_prefix(self, system: str) -> Tokens:
        """The tokens that every sequence of a user with this system turn begins with."""
        probes = [
            self._tokens(ChatPrefix(system, (Message("user", text),)), text) for text in ("a", "Z 9", "\u00e9 more")
        ]
        shortest = min(common_length(probes[0], other) for other in probes[1:])
        return probes[0][:shortest]

    @property
    def pad_token_id(self) -> int:
        """A token for padding that is not the one that closes a turn.

        Where the two are one, models that look for padding read the score inside the shared
        prompt and every margin is 0; a reserved token stands in.

        Raises:
            BadInput: If the tokenizer has no token to spare.
        """
        taken = {self.tokenizer.eos_token_id, self.closing_id}
        if self.tokenizer.pad_token_id is not None and self.tokenizer.pad_token_id not in taken:
            return int(self.tokenizer.pad_token_id)
        known = self.tokenizer.get_vocab()
        reserved = [token for token in known if token.startswith(("<|reserved_special_token", "<unused"))]
        for token in (*PADDINGS, *sorted(reserved), self.tokenizer.unk_token):
            if token in known and known[token] not in taken:
                return int(known[token])
        raise BadInput(
            f"the padding token {self.tokenizer.pad_token!r} also closes a turn and the tokenizer has no reserved "
            "token to pad with; add one, such as <|pad|>, to the tokenizer"
        )

    @property
    def closing_id(self) -> int:
        """The token that closes a completion; the score is read there."""
        return self._closing[0]

    def _tokens(self, question: ChatPrefix, completion: str) -> Tokens:
        names = self._special_names
        turns = [{"role": turn.role, "content": harmless(turn.content, names)} for turn in question.conversation]
        if question.system:
            told = harmless(question.system, names)
            if turns[0]["role"] == "system":  # templates know one system turn, at the start
                turns[0]["content"] = f"{told}\n\n{turns[0]['content']}"
            else:
                turns.insert(0, {"role": "system", "content": told})
        if turns[0]["role"] == "system" and not self._knows_system:
            first = turns.pop(0)
            turns[0]["content"] = f"{first['content']}\n\n{turns[0]['content']}"
        turns.append({"role": "assistant", "content": harmless(completion, names)})
        ids = list(self.tokenizer(self._render(turns), add_special_tokens=False)["input_ids"])
        closing, n_behind = self._closing
        ids = ids[: len(ids) - n_behind] if n_behind >= 0 else [*ids, closing]
        begin = self.tokenizer.bos_token_id
        if begin is None:
            return tuple(ids)
        # Exactly one beginning token where the tokenizer uses one, whatever the template wrote.
        n = next((place for place, token in enumerate(ids) if token != begin), len(ids))
        return (begin, *ids[n:]) if n or self._adds_beginning else tuple(ids)

    def _render(self, messages: list[dict[str, str]]) -> str:
        template = self.tokenizer.chat_template or PLAIN_TEMPLATE
        return rendered(self.tokenizer, messages, chat_template=template, add_generation_prompt=False)

    @cached_property
    def _special_names(self) -> list[str]:
        return special_names(self.tokenizer)

    @cached_property
    def _knows_system(self) -> bool:
        """Whether the template writes a system turn as one; some leave it out without a word."""
        probe = [{"role": role, "content": "probe" + role} for role in ("system", "user", "assistant")]
        return "probesystem" in self._render(probe)

    @cached_property
    def _closing(self) -> tuple[int, int]:
        """The closing token, and how many tokens the template puts behind it; -1 if it closes with none."""
        tails = []
        for text in ("a", "Z 9"):
            messages = [{"role": "user", "content": "probe"}, {"role": "assistant", "content": text}]
            ids = self.tokenizer(self._render(messages), add_special_tokens=False)["input_ids"]
            tails.append(tuple(reversed(ids)))
        tail = tails[0][: common_length(*tails)][::-1]
        special = set(self.tokenizer.all_special_ids)
        for place, token in enumerate(tail):
            if token in special:
                return int(token), len(tail) - 1 - place
        if self.tokenizer.eos_token_id is None:
            raise BadInput(
                "the chat template closes a completion with no special token and the tokenizer has no end token; set "
                "its eos_token"
            )
        return int(self.tokenizer.eos_token_id), -1

    @cached_property
    def _adds_beginning(self) -> bool:
        return bool(self.tokenizer("a")["input_ids"][:1] == [self.tokenizer.bos_token_id])


def positions_of(config: Any) -> int | None:
    """How many positions a model has, by its configuration; None where it does not say."""
    positions = getattr(config, "max_position_embeddings", None)
    return int(positions) if isinstance(positions, int) and positions > 1 else None


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a saved model.

    Raises:
        BadInput: If there is none at the path.
        MissingExtra: If transformers is not installed.
    """
    return load_pretrained("AutoTokenizer", path, "tokenizer")
