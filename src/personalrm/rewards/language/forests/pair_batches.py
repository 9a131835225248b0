"""The order in which pairs are trained on, and how a step is cut into forests that fit.

Pairs that share tokens belong to one step and one forest; everything else is shuffled.
Steps of similar length stand side by side only within a window, so lengths are even
inside a step and random over the run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from personalrm.embedding.token_tree import Tokens, common_length
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.forests.chat_tokens import ChatPrefix, ChatTokenizer
from personalrm.rewards.language.forests.forest import Forest, make_forest
from personalrm.wording import count

Sharing = Literal["none", "pair", "conversation", "user"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)
WINDOW = 16
"""Steps whose pairs are sorted by length together."""


@dataclass(frozen=True, repr=False)
class TokenPair:
    """A preference pair as token ids."""

    chosen: Tokens
    rejected: Tokens
    key: Hashable
    """Pairs of one key may share a beginning."""
    n_turns_left_out: int = 0
    n_tokens_cut: int = 0

    @property
    def is_identical(self) -> bool:
        """Whether nothing is left of what tells the completions apart: it was cut, or the template leaves it out."""
        return self.chosen == self.rejected

    @property
    def n_tokens(self) -> int:
        """Tokens of both sequences, the shared beginning counted once."""
        return len(self.chosen) + len(self.rejected) - common_length(self.chosen, self.rejected)


@dataclass(frozen=True, repr=False)
class PairForest:
    """A forest of some pairs; sequence numbers of each pair's completions."""

    forest: Forest
    chosen: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Shape `(pairs,)`."""
    rejected: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Shape `(pairs,)`."""


def tokenize_pairs(
    tokenizer: ChatTokenizer, pairs: Sequence[tuple[str, PreferencePair]], *, sharing: Sharing
) -> list[TokenPair]:
    """The pairs as token ids, each with what its user's system turn tells, empty for nothing."""
    found = []
    for place, (turn, pair) in enumerate(pairs):
        both = tokenizer.tokenize(ChatPrefix(turn, pair.conversation), (pair.chosen, pair.rejected))
        chosen, rejected = both.sequences
        of_conversation = (pair.user_id, pair.conversation_key)
        key = pair.user_id if sharing == "user" else of_conversation if sharing == "conversation" else place
        found.append(TokenPair(chosen, rejected, key, both.n_turns_left_out, both.n_tokens_cut))
    return found


def order_steps(pairs: Sequence[TokenPair], *, pairs_a_step: int, seed: int) -> list[list[int]]:
    """Places of the pairs of each step of one epoch; every pair once, equal seeds give equal orders.

    The pairs of a key stay together, in steps of at most `pairs_a_step`. Pairs of equal tokens, which teach nothing,
    are left out.

    Raises:
        BadInput: If none is left.
    """
    rng = np.random.default_rng(seed)
    groups: dict[Hashable, list[int]] = {}
    for place, pair in enumerate(pairs):
        if not pair.is_identical:
            groups.setdefault(pair.key, []).append(place)
    if not groups:
        raise BadInput(
            f"all of {count(len(pairs), 'pair')} are identical as the model reads them; raise max_tokens, which cuts "
            "them, or see what the chat template leaves out"
        )
    chunks = [
        group[start : start + pairs_a_step] for group in groups.values() for start in range(0, len(group), pairs_a_step)
    ]
    shuffled = [chunks[place] for place in rng.permutation(len(chunks))]
    steps: list[list[int]] = []
    window: list[list[int]] = []
    for number, chunk in enumerate(shuffled, 1):
        window.append(chunk)
        if sum(map(len, window)) >= WINDOW * pairs_a_step or number == len(shuffled):
            window.sort(key=lambda chunk: max(pairs[place].n_tokens for place in chunk))
            filled: list[list[int]] = []
            for neighbor in window:  # neighbors are joined as long as a step has room
                if filled and len(filled[-1]) + len(neighbor) <= pairs_a_step:
                    filled[-1] += neighbor
                else:
                    filled.append(list(neighbor))
            steps += filled
            window = []
    return [steps[place] for place in rng.permutation(len(steps))]


def order_epochs(pairs: Sequence[TokenPair], epochs: int, *, pairs_a_step: int, seed: int) -> list[list[int]]:
    """Places of the pairs of each step of all epochs, each epoch in an order of its own."""
    return [
        step for epoch in range(epochs) for step in order_steps(pairs, pairs_a_step=pairs_a_step, seed=seed + epoch)
    ]


def cut_to_budget(pairs: Sequence[TokenPair], places: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """The pairs of a step in parts of at most `max_tokens` tokens; a single longer pair is a part of its own."""
    ordered = sorted(places, key=lambda place: (str(pairs[place].key), pairs[place].chosen))
    parts: list[list[int]] = []
    room, before = 0, None
    for place in ordered:
        pair = pairs[place]
        is_shared = before is not None and before.key == pair.key
        n_new = pair.n_tokens - (common_length(before.chosen, pair.chosen) if before is not None and is_shared else 0)
        if parts and n_new <= room:
            parts[-1].append(place)
            room -= n_new
        else:
            parts.append([place])
            room = max_tokens - pair.n_tokens
        before = pair
    return parts


def plant(pairs: Sequence[TokenPair], *, is_shared: bool = True) -> PairForest:
    """The forest of some pairs; unshared, every sequence is a tree of its own, as in two passes."""
    sequences = [tokens for pair in pairs for tokens in (pair.chosen, pair.rejected)]
    keys: list[Hashable] = [(pair.key,) for pair in pairs for _ in range(2)]
    forest = make_forest(sequences, keys if is_shared else list(range(len(sequences))))
    numbers = np.arange(len(sequences), dtype=np.int64)
    return PairForest(forest, numbers[0::2], numbers[1::2])
