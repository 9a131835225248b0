"""Replies that end: the strings and lists of a schema get lengths, which llama.cpp keeps to.

A small model that has begun to reason may say one sentence over and over until nothing is left of `max_tokens`, and its
verdict is lost. Servers elsewhere are not sent lengths: some refuse a schema that has them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from personalrm.lm.protocol import Schema

REASONING, ITEM = 800, 240
"""Characters of a text of its own, such as a reasoning, and of one in a list, such as a sentence of a persona."""
MOST_ITEMS, MOST_NUMBERS = 8, 6
SHARES = (1.0, 0.75, 0.5, 0.35, 0.2, 0.1)
"""Of these lengths, tried in turn until the longest reply fits."""
CHARACTERS_A_TOKEN = 3.0
"""Of the densest English a small tokenizer makes; a reply in another script may be cut off, and is asked again."""
AROUND = 4
"""Tokens of quotes, a comma and white space around a value."""


def bounded(schema: Schema, max_tokens: int) -> Schema:
    """The schema with lengths, so that the longest reply to it has at most so many tokens.

    Long texts are kept at the price of lists that have fewer items; where not even the shortest fits, that is taken.
    """
    return Schema(schema.name, json.loads(_bounded(schema.text, max_tokens)))


@lru_cache(maxsize=64)
def _bounded(text: str, max_tokens: int) -> str:
    content = json.loads(text)
    held: Any = content
    for share in SHARES:
        for n_items in range(MOST_ITEMS, 0, -1):
            held = _held(content, share, n_items, in_list=False)
            if _most_tokens(held) <= max_tokens:
                return json.dumps(held)
    return json.dumps(held)


def _held(content: Mapping[str, Any], share: float, n_items: int, *, in_list: bool) -> dict[str, Any]:
    """The same schema with lengths where it has none."""
    held = dict(content)
    if held.get("type") == "string" and "enum" not in held:
        held.setdefault("maxLength", max(8, int(share * (ITEM if in_list else REASONING))))
    elif held.get("type") == "array":
        is_numbers = held["items"].get("type") in ("integer", "number")
        held.setdefault("maxItems", min(n_items, MOST_NUMBERS) if is_numbers else n_items)
        held["items"] = _held(held["items"], share, n_items, in_list=True)
    elif held.get("type") == "object":
        held["properties"] = {
            name: _held(value, share, n_items, in_list=in_list) for name, value in held["properties"].items()
        }
    return held


def _most_tokens(content: Mapping[str, Any]) -> int:
    """Tokens of the longest reply to a schema with lengths."""
    if "enum" in content:
        return AROUND + max(_tokens_of(len(str(value))) for value in content["enum"])
    if content.get("type") == "string":
        return AROUND + _tokens_of(content["maxLength"])
    if content.get("type") == "array":
        return AROUND + int(content["maxItems"]) * _most_tokens(content["items"])
    if content.get("type") == "object":
        named = content["properties"].items()
        return AROUND + sum(AROUND + _tokens_of(len(name)) + _most_tokens(value) for name, value in named)
    return AROUND


def _tokens_of(n_characters: int) -> int:
    return math.ceil(n_characters / CHARACTERS_A_TOKEN)
