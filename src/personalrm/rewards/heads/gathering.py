"""From nouns to tensors, for the heads that use torch: training pairs, padded contexts, questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personalrm.embedding.encoders import IntArray, Pooling, TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import Tensor, torch
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.pair_table import ITEMS, PairTable, PairTexts, item_vectors, make_context_table
from personalrm.rewards.reward_model import DevUser, ScoreItem
from personalrm.stats.arrays import FloatArray

MOST_VALUES = 2**24
"""Numbers of one padded batch of contexts, those of its attention too; a single larger context is one of its own."""


@dataclass(frozen=True, repr=False)
class PairVectors:
    """The vectors of a table's pairs, each text held once and in fp16, as the store has it."""

    held: Tensor
    """Shape `(texts, dim)`, fp16."""
    places: Tensor
    """Shape `(pairs, 2 or 3)`: where chosen, rejected and, where asked for, prompt stand in `held`."""

    def take(self, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Chosen, rejected and prompt of some pairs, fp32, shape of `pairs` with `dim` behind."""
        found = [self.held[self.places[pairs, column]].float() for column in range(self.places.shape[1])]
        return found[0], found[1], found[2] if len(found) == 3 else None

    def standardize(self, module: Any) -> None:
        """Set `shift` and `scale` of a module to mean and spread of all texts, `(dim,)` each; a spread of 0 to 1."""
        texts = self.held.double()
        spread = texts.std(dim=0, correction=0)
        module.shift.copy_(texts.mean(dim=0).float())
        module.scale.copy_(torch.where(spread > 0, spread, 1.0).float())


def gather_pairs(table: PairTable, store: EmbeddingStore, pooling: Pooling) -> PairVectors:
    """The vectors of a table; prompts too where the table has their rows."""
    rows = [table.chosen_row, table.rejected_row]
    if len(table) and table.prompt_row.min() >= 0:
        rows.append(table.prompt_row)
    distinct, places = np.unique(np.stack(rows, axis=1), return_inverse=True)
    held = np.ascontiguousarray(store.matrix(pooling)[distinct])
    return PairVectors(torch.from_numpy(held), torch.from_numpy(places.reshape(-1, len(rows))))


def pair_weights(table: PairTable, *, by_choice: bool) -> Tensor:
    """How much each pair counts in a mean over pairs drawn alike, `(pairs,)`; 1 on average.

    Args:
        table: The pairs.
        by_choice: Whether the n pairs of one choice count 1 / n each, in proportion; else all count 1.
    """
    weight = torch.from_numpy(table.weight).float()
    return weight / weight.mean() if by_choice else torch.ones_like(weight)


@dataclass(frozen=True, repr=False)
class ContextBatch:
    """The pairs of some users, padded to the longest; padded vectors are another pair's and must be masked."""

    users: list[int]
    """Places of the users among all that were gathered."""
    chosen: Tensor
    """Shape `(users, pairs, dim)`, fp32."""
    rejected: Tensor
    """Shape `(users, pairs, dim)`."""
    prompt: Tensor | None
    """Shape `(users, pairs, dim)`, where asked for."""
    real: Tensor
    """Shape `(users, pairs)`, which pairs are not padding."""
    weight: Tensor
    """Shape `(users, pairs)`, 1 / n for the n pairs of one choice, 0 where padded."""

    def flat(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Chosen, rejected and prompt, `(users * pairs, dim)` each, padded ones too."""
        prompt = self.prompt.flatten(0, 1) if self.prompt is not None else None
        return self.chosen.flatten(0, 1), self.rejected.flatten(0, 1), prompt


@dataclass(frozen=True, repr=False)
class Contexts:
    """The pairs of several users, each text held once; padded only to users of like size, batch by batch."""

    table: PairTable
    vectors: PairVectors

    def __len__(self) -> int:
        return self.table.n_users

    def batches(self) -> Iterator[ContextBatch]:
        """All users, those without pairs too, in batches of bounded size; a single larger user is one."""
        places, real = self.table.padded()
        for users in alike(self.table.counts.tolist(), self.vectors.held.shape[1]):
            most = int(self.table.counts[users].max())
            own, is_real = places[users, :most], real[users, :most]
            weight = torch.from_numpy(np.where(is_real, self.table.weight[own], 0.0)).float()
            yield ContextBatch(
                users, *self.vectors.take(torch.from_numpy(own)), torch.from_numpy(is_real), weight
            )  # fmt: skip


def gather_contexts(
    contexts: Sequence[Sequence[PreferencePair]], store: EmbeddingStore, pooling: Pooling, *, reading: PairTexts = ITEMS
) -> Contexts:
    """The vectors of some contexts; what the store lacks is embedded. Contexts may be empty, even all of them."""
    table = make_context_table(contexts, store, reading=reading)
    return Contexts(table, gather_pairs(table, store, pooling))


@dataclass(frozen=True, repr=False)
class DevPairs:
    """Contexts and targets of the dev users, gathered once for all looks at them."""

    contexts: Contexts
    targets: Contexts

    def mean(self, loss: Callable[[ContextBatch], float]) -> float:
        """Mean loss of the targets, of a function that weighs and sums it over a batch of them."""
        total = 0.0
        for batch in self.targets.batches():
            total += loss(batch)
        return total / float(self.targets.table.weight.sum())


def gather_dev(
    dev: Sequence[DevUser], store: EmbeddingStore, pooling: Pooling, *, reading: PairTexts = ITEMS
) -> DevPairs | None:
    """The vectors of the dev users that have targets; None without any."""
    users = [user for user in dev if user.targets]
    parts = [user.context for user in users], [user.targets for user in users]
    return DevPairs(*(gather_contexts(part, store, pooling, reading=reading) for part in parts)) if users else None


def alike(counts: Sequence[int], dim: int = 1) -> list[list[int]]:
    """Places of users by their number of pairs, together while all they hold fits `MOST_VALUES`.

    Vectors hold `dim` numbers for each place of the longest context, attention one for each two places, so one
    user of ten thousand pairs must not pad a hundred of ten.

    Args:
        counts: Pairs of each user.
        dim: Width of a vector.
    """
    found: list[list[int]] = []
    for place in sorted(range(len(counts)), key=lambda place: counts[place]):
        if not found or (len(found[-1]) + 1) * counts[place] * max(counts[place], dim) > MOST_VALUES:
            found.append([])
        found[-1].append(place)
    return found


@dataclass(frozen=True, repr=False)
class ItemBatch:
    """The completions of several questions, one after another."""

    completions: Tensor
    """Shape `(completions, dim)`, fp32."""
    prompts: Tensor | None
    """Shape `(completions, dim)`, each one's prompt, where asked for."""
    item: Tensor
    """Shape `(completions,)`, the question each belongs to."""
    starts: IntArray
    """Shape `(items + 1,)`."""

    def split(self, rewards: Tensor) -> list[FloatArray]:
        """Rewards `(completions,)` back to one array a question."""
        return [np.asarray(part) for part in np.split(rewards.double().numpy(), self.starts[1:-1])]


def gather_items(
    items: Sequence[ScoreItem], store: EmbeddingStore, pooling: Pooling, *, reading: PairTexts = ITEMS
) -> ItemBatch:
    """The vectors of all completions of at least one item."""
    vectors, starts = item_vectors(items, store, pooling, reading=reading)
    item = torch.from_numpy(np.repeat(np.arange(len(items)), np.diff(starts)))
    prompts = None
    if reading.with_prompts:
        prompts = torch.from_numpy(store.vectors([TextSequence(item.conversation) for item in items], pooling))[item]
    return ItemBatch(torch.from_numpy(vectors), prompts, item, starts)
