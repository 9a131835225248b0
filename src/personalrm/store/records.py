"""What the store gives and takes: small frozen records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt


@dataclass(frozen=True)
class Version:
    """One saved prompt of a person."""

    number: int
    """1 is the first."""
    date: str
    """When it was saved, ISO 8601 in UTC."""


@dataclass(frozen=True)
class Listed:
    """A person in a list: what can be said without reading a prompt."""

    user_id: str
    n_versions: int
    """0 where pairs were added and nothing was fitted."""
    n_pairs: int
    """Pairs that the newest prompt was made from."""
    n_sentences: int
    engine: str
    first_date: str
    newest_date: str


@dataclass(frozen=True, repr=False)
class StoredPair:
    """A choice as it is kept."""

    pair: PreferencePair
    reason: str = ""
    """Why the person chose so, in their own words."""
    is_hidden: bool = False
    """Learned from, and never quoted."""
    date: str = ""
    """When it was stored, ISO 8601 in UTC."""


@dataclass(frozen=True, repr=False)
class Learned:
    """What a fit has to store about one person."""

    prompt: PersonalPrompt
    pairs: Sequence[PreferencePair]


@dataclass(frozen=True)
class Forgot:
    """What went when a choice was forgotten."""

    n_pairs: int
    """More than one where several bear the name."""
    n_versions: int
    """All versions where no choice is left, else none."""


@dataclass(frozen=True)
class Hidden:
    """What is never quoted of a person."""

    hashes: frozenset[str] = frozenset()
    """Of pairs, as `PreferencePair.hash`."""
    words: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.hashes or self.words)
