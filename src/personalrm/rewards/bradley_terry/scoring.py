"""Rewards of many questions with as few tokens as they have: beginnings once, users' turns kept.

A user's turn of P tokens and n completions of c tokens cost P + n c tokens the first time
and n c from then on, with the same rewards as n sequences run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.embedding.token_tree import Tokens
from personalrm.embedding.with_torch import torch
from personalrm.rewards.bradley_terry.network import RewardNetwork
from personalrm.rewards.forests.attention import KeysValues, run_forest
from personalrm.rewards.forests.forest import Forest, make_forest
from personalrm.rewards.forests.pair_batches import TokenPair, cut_to_budget, plant
from personalrm.rewards.forests.prefix_cache import PrefixCache
from personalrm.rewards.reward_model import FloatArray


@dataclass(frozen=True, repr=False)
class ToScore:
    """Completions of one question as token ids, and how many tokens they share with the user's other questions."""

    sequences: tuple[Tokens, ...]
    prefix: Tokens = ()


class ForestScorer:
    """Scores with one network.

    Args:
        network: In evaluation mode.
        cache: Users' beginnings.
        tokens_at_once: Tokens of a forest.
        least_prefix: Shorter beginnings are not worth keeping.
    """

    def __init__(
        self, network: RewardNetwork, cache: PrefixCache, *, tokens_at_once: int = 16_384, least_prefix: int = 16
    ) -> None:
        self.network, self.cache = network, cache
        self.tokens_at_once, self.least_prefix = tokens_at_once, least_prefix
        self.n_tokens_run = 0
        """Tokens that went through the model so far."""

    @torch.no_grad()
    def score(self, items: Sequence[ToScore]) -> list[list[float]]:
        """The rewards of each item's sequences."""
        rewards: list[list[float]] = [[] for _ in items]
        by_prefix: dict[Tokens, list[int]] = {}
        for place, item in enumerate(items):
            if item.sequences:
                by_prefix.setdefault(self._usable(item), []).append(place)
        for prefix, places in by_prefix.items():
            kept = self._beginning(prefix) if prefix else None
            for part in self._parts(items, places, len(prefix)):
                sequences = [tokens[len(prefix) :] for place in part for tokens in items[place].sequences]
                keys = [place for place in part for _ in items[place].sequences]
                found = self._run(make_forest(sequences, keys, n_cached=len(prefix)), kept)
                for place in part:
                    n = len(items[place].sequences)
                    rewards[place], found = found[:n], found[n:]
        return rewards

    def _usable(self, item: ToScore) -> Tokens:
        """The item's prefix, unless it is short, or cut off where the sequence was too long."""
        n = len(item.prefix)
        fits = all(len(tokens) > n and tokens[:n] == item.prefix for tokens in item.sequences)
        return item.prefix if fits and n >= self.least_prefix and self.cache.max_tokens else ()

    def _beginning(self, prefix: Tokens) -> KeysValues:
        known = self.cache.find(prefix)
        if known is None:
            self.n_tokens_run += len(prefix)
            _, known = run_forest(self.network.decoder, make_forest([prefix], [0]), keep=True)
            self.cache.keep(prefix, known)
        return known

    def _run(self, forest: Forest, kept: KeysValues | None) -> list[float]:
        self.n_tokens_run += len(forest)
        states, _ = run_forest(self.network.decoder, forest, cached=kept)
        return [float(reward) for reward in self.network.rewards(states, forest)]

    def _parts(self, items: Sequence[ToScore], places: Sequence[int], n_prefix: int) -> list[list[int]]:
        """Places of items scored together, by an upper bound of their tokens."""
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


@torch.no_grad()
def state_differences(network: RewardNetwork, pairs: Sequence[TokenPair], *, tokens_at_once: int) -> FloatArray:
    """Hidden state of each pair's chosen sequence minus that of its rejected one, `(pairs, width)`, fp32 inside.

    Args:
        network: In evaluation mode.
        pairs: Whose states.
        tokens_at_once: Tokens of a forest.
    """
    found: list[FloatArray] = [np.zeros(0)] * len(pairs)
    for part in cut_to_budget(pairs, range(len(pairs)), max_tokens=tokens_at_once):
        planted = plant([pairs[place] for place in part], is_shared=True)
        states, _ = run_forest(network.decoder, planted.forest)
        ends = states[torch.from_numpy(planted.forest.leaves).to(states.device)].float().cpu().double().numpy()
        for place, difference in zip(part, ends[planted.chosen] - ends[planted.rejected], strict=True):
            found[place] = difference
    return np.stack(found)
