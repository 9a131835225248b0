"""What tokens cost: a small table the user can replace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

from personalrm.errors import BadFile
from personalrm.lm.protocol import Usage

CHARACTERS_A_TOKEN = 3.0
"""Fewer than any common tokenizer needs for English, so that estimates are upper bounds."""


@dataclass(frozen=True)
class Price:
    """Per million tokens."""

    prompt: float
    cached: float
    completion: float

    def of(self, usage: Usage) -> float:
        """What a call cost."""
        fresh = max(0, usage.prompt_tokens - usage.cached_tokens)
        return (
            fresh * self.prompt + usage.cached_tokens * self.cached + usage.completion_tokens * self.completion
        ) / 1e6


def estimated_tokens(n_characters: int) -> int:
    """Tokens of so many characters, rather too many than too few."""
    return int(n_characters / CHARACTERS_A_TOKEN) + 16


def price_of(model: str, path: str | Path | None = None) -> Price | None:
    """The list price of a model, or None where the table does not name it.

    Args:
        model: With or without its provider (`openai/gpt-4o-mini`).
        path: A table of one's own, in the layout of `lm/prices.json`.

    Raises:
        BadFile: If the table cannot be read.
    """
    where = str(path) if path is not None else "the shipped price table"
    try:
        source = Path(path) if path is not None else files("personalrm.lm") / "prices.json"
        rows = {name: row for name, row in json.loads(source.read_text(encoding="utf-8")).items() if name[:1] != "_"}
        table = {name: Price(*(float(price) for price in row)) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadFile(
            f"price table {where!r} cannot be read ({type(error).__name__}); write "
            '{"model": [prompt, cached, completion]} in dollars per million tokens'
        ) from None
    if any(not (0 <= value < float("inf")) for price in table.values() for value in vars(price).values()):
        raise BadFile(f"price table {where!r} holds a price that is negative or not a number; correct it")
    names = (model, model.rpartition("/")[2])
    patterns = [pattern for pattern in table if any(fnmatchcase(name, pattern) for name in names)]
    return table[max(patterns, key=len)] if patterns else None
