"""The funnel: what each stage of a build left and what it removed, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import PreferencePair

EXCERPT = 160
"""Characters of a request shown with an example."""


@dataclass(frozen=True, repr=False)
class Example:
    """One pair that was removed."""

    reason: str
    pair: str
    """Hash of the pair."""
    query: str
    """Beginning of the last user turn; empty where texts are not to be shown."""


@dataclass(frozen=True, repr=False)
class StageRow:
    """What became of the pairs in one stage."""

    stage: str
    title: str
    n_pairs: int
    """Pairs that are left."""
    n_users: int
    """Users that are left."""
    n_pairs_removed: int
    n_users_removed: int
    removed: Mapping[str, int] = field(default_factory=dict)
    """Removed pairs by reason."""
    examples: tuple[Example, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Counts that belong to this stage alone, such as rows read or judgements that are missing."""


class StageTally:
    """Counts that grow while a stage runs.

    Args:
        n_examples: Removed pairs kept as examples for each reason.
        shows_text: Whether an example shows the beginning of the request.
        seed: Decides which pairs become examples; their order in the file does not.
    """

    def __init__(self, *, n_examples: int = 3, shows_text: bool = True, seed: int = 0) -> None:
        self.removed: Counter[str] = Counter()
        self.notes: dict[str, Any] = {}
        self.n_users_in = 0
        self._n_examples, self._shows_text, self._seed = n_examples, shows_text, seed
        self._examples: dict[str, list[tuple[str, Example]]] = {}

    def remove(self, pair: PreferencePair, reason: str) -> None:
        """One pair less; the few with the smallest hashes become examples, so neither order nor a kill matters."""
        self.removed[reason] += 1
        kept = self._examples.setdefault(reason, [])
        place = digest(self._seed, pair.hash)
        if len(kept) == self._n_examples and (not kept or place > kept[-1][0]):
            return
        query = ""
        if self._shows_text:
            asked = next(turn.content for turn in reversed(pair.conversation) if turn.role == "user")
            line = " ".join(asked.split())
            query = line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"
        kept.append((place, Example(reason, pair.hash, query)))
        kept.sort(key=lambda ranked: ranked[0])
        del kept[self._n_examples :]

    def note(self, name: str, count: int = 1) -> None:
        """Add to a count of this stage alone."""
        self.notes[name] = self.notes.get(name, 0) + count

    def row(self, stage: str, title: str, n_pairs: int, n_users: int) -> StageRow:
        """The finished row."""
        return StageRow(
            stage,
            title,
            n_pairs,
            n_users,
            n_pairs_removed=self.removed.total(),
            n_users_removed=max(0, self.n_users_in - n_users),
            removed=dict(sorted(self.removed.items())),
            examples=tuple(example for reason in sorted(self._examples) for _, example in self._examples[reason]),
            notes=dict(sorted(self.notes.items())),
        )
