"""The probability of a verdict, from the log-probabilities of its token."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from personalrm.lm.protocol import TokenChances

_VALUE = re.compile(r"[\"']?(?:choice|verdict|preference|answer)[\"']?\s*[:=]\s*[\"']?", re.IGNORECASE)
_SIDES = {"first": ("first", "a", "1"), "second": ("second", "b", "2")}


def chance_of_first(tokens: Sequence[TokenChances]) -> float | None:
    """P(first) in [0, 1] at the token that decides; None where no token does.

    The deciding token is the one that opens the value of the last `choice` field, else
    the first token of the reply. Both labels must be among its alternatives or one of
    them be certain, otherwise nothing is known of the other.
    """
    token = _deciding(tokens)
    if token is None:
        return None
    mass = {side: sum(math.exp(p) for t, p in token.alternatives if _opens(t, names)) for side, names in _SIDES.items()}
    total = mass["first"] + mass["second"]
    return min(1.0, mass["first"] / total) if total > 0.0 else None


def _deciding(tokens: Sequence[TokenChances]) -> TokenChances | None:
    text = "".join(token.text for token in tokens)
    found = list(_VALUE.finditer(text))
    at, end = (found[-1].end() if found else 0), 0
    for token in tokens:
        end += len(token.text)
        if end > at and token.text.strip(" \"'\n"):
            return token
    return None


@lru_cache(maxsize=4096)
def _opens(token: str, names: tuple[str, ...]) -> bool:
    """Whether a token begins one of a side's labels, such as `sec` or `"first`."""
    word = token.strip(" \"'\n:").lower()
    return bool(word) and any(name.startswith(word) or (len(name) > 1 and word.startswith(name)) for name in names)
