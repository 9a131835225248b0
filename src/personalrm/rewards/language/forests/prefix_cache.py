"""Keys and values of the beginnings that users' sequences share, kept for their next question.

A bounded number of tokens is kept, least recently used first out, so n completions for a
known user cost the conversation and the completions alone.
"""

from __future__ import annotations

from collections import OrderedDict

from personalrm.embedding.token_tree import Tokens
from personalrm.errors import BadInput
from personalrm.rewards.language.forests.attention import KeysValues


class PrefixCache:
    """Keys and values by their tokens.

    Args:
        max_tokens: Most tokens kept, over all users; 0 keeps nothing.
    """

    def __init__(self, max_tokens: int = 65_536) -> None:
        if max_tokens < 0:
            raise BadInput(f"max_tokens must be at least 0, got {max_tokens!r}")
        self.max_tokens = max_tokens
        self.n_tokens = 0
        self.n_hits = 0
        self.n_misses = 0
        self._kept: OrderedDict[Tokens, KeysValues] = OrderedDict()

    def find(self, tokens: Tokens) -> KeysValues | None:
        """What is kept of the tokens, which then are the most recently used."""
        found = self._kept.get(tokens)
        if found is None:
            self.n_misses += 1
            return None
        self.n_hits += 1
        self._kept.move_to_end(tokens)
        return found

    def keep(self, tokens: Tokens, keys_values: KeysValues) -> None:
        """Keep them, unless they alone are over the bound; the least recently used make room."""
        if len(tokens) > self.max_tokens or tokens in self._kept:
            return
        self._kept[tokens] = keys_values
        self.n_tokens += len(tokens)
        while self.n_tokens > self.max_tokens:
            gone, _ = self._kept.popitem(last=False)
            self.n_tokens -= len(gone)

    def clear(self) -> None:
        """Forget everything: the model has changed."""
        self._kept.clear()
        self.n_tokens = 0

    def __len__(self) -> int:
        return len(self._kept)
