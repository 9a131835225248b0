"""Texts made harmless: nobody closes a turn, or begins another, by writing a special token's name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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

    A lone surrogate is no character to a tokenizer; it becomes a question mark.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    for name in names:
        text = text.replace(name, f"{name[0]} {name[1:]}")
    return text
