"""States of the closing tokens of many questions with as few tokens as they have: beginnings once, users' turns kept.

A user's turn of P tokens and n completions of c tokens cost P + n c tokens the first time
and n c from then on, with the same states as n sequences run alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.embedding.token_tree import Tokens
from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput
from personalrm.rewards.language.forests.attention import KeysValues, run_forest
from personalrm.rewards.language.forests.forest import Forest, make_forest


class PrefixCache:
    """Keys and values of beginnings by their tokens, for the users' next questions; least recently used first out.

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


@dataclass(frozen=True, repr=False)
class ToRead:
    """Completions of one question as token ids, and how many tokens they share with the user's other questions."""

    sequences: tuple[Tokens, ...]
    prefix: Tokens = ()


class StateReader:
    """Reads states with one language model.

    Args:
        decoder: Without head, prepared by `use_attention`, in evaluation mode.
        cache: Users' beginnings.
        tokens_at_once: Tokens of a forest.
        least_prefix: Shorter beginnings are not worth keeping.
    """

    def __init__(
        self, decoder: Any, cache: PrefixCache, *, tokens_at_once: int = 16_384, least_prefix: int = 16
    ) -> None:
        self.decoder, self.cache = decoder, cache
        self.tokens_at_once, self.least_prefix = tokens_at_once, least_prefix
        self.n_tokens_run = 0
        """Tokens that went through the model so far."""

    @torch.no_grad()
    def read(self, items: Sequence[ToRead]) -> list[torch.Tensor]:
        """The states of each item's sequences, `(sequences, width)`, fp32."""
        nothing = torch.zeros(0, self.decoder.config.hidden_size, device=self.decoder.device)
        states = [nothing] * len(items)
        by_prefix: dict[Tokens, list[int]] = {}
        for place, item in enumerate(items):
            if item.sequences:
                by_prefix.setdefault(self._usable(item), []).append(place)
        for prefix, places in by_prefix.items():
            kept = self.cache.find(prefix) if prefix else None
            if prefix and kept is None:
                self.n_tokens_run += len(prefix)
                _, kept = run_forest(self.decoder, make_forest([prefix], [0]), keep=True)
                self.cache.keep(prefix, kept)
            for part in self._parts(items, places, len(prefix)):
                sequences = [tokens[len(prefix) :] for place in part for tokens in items[place].sequences]
                keys: list[Hashable] = [place for place in part for _ in items[place].sequences]
                forest = make_forest(sequences, keys, n_cached=len(prefix))
                self.n_tokens_run += len(forest)
                ends = closing_states(run_forest(self.decoder, forest, cached=kept)[0], forest)  # (sequences, width)
                counts = [len(items[place].sequences) for place in part]
                for place, item_ends in zip(part, torch.split(ends, counts), strict=True):
                    states[place] = item_ends
        return states

    def _usable(self, item: ToRead) -> Tokens:
        """The item's prefix, unless it is short, or cut off where the sequence was too long."""
        n = len(item.prefix)
        fits = all(len(tokens) > n and tokens[:n] == item.prefix for tokens in item.sequences)
        return item.prefix if fits and n >= self.least_prefix and self.cache.max_tokens else ()

    def _parts(self, items: Sequence[ToRead], places: Sequence[int], n_prefix: int) -> list[list[int]]:
        """Places of items read together, by an upper bound of their tokens."""
        parts: list[list[int]] = []
        room = 0
        for place in places:
            n_tokens = sum(len(tokens) - n_prefix for tokens in items[place].sequences)
            if not parts or n_tokens > room:
                parts.append([])
                room = self.tokens_at_once
            parts[-1].append(place)
            room -= n_tokens
        return parts


def closing_states(states: torch.Tensor, forest: Forest) -> torch.Tensor:
    """The states `(sequences, width)` at which sequences end, fp32, of the states `(N, width)` of all tokens."""
    leaves = torch.from_numpy(forest.leaves).to(states.device)
    return states[leaves].to(torch.float32)
