"""Personas: what is said about a user, sentence by sentence, with evidence.

A persona is its claims, nothing else: `text` is the claims' sentences joined, so the
words a person reads and edits are the words a judge uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Claim:
    """One sentence about the user and the pairs it rests on."""

    text: str
    """The sentence, as shown and as read back."""
    supporting: tuple[str, ...] = ()
    """Ids (`PreferencePair.id`) of pairs that agree with the sentence."""
    contradicting: tuple[str, ...] = ()
    """Ids of pairs that speak against it."""

    def __repr__(self) -> str:
        return (
            f"Claim(characters={len(self.text)}, supporting={len(self.supporting)}, "
            f"contradicting={len(self.contradicting)})"
        )


@dataclass(frozen=True, repr=False)
class Persona:
    """A short description of one user in plain words."""

    claims: tuple[Claim, ...] = ()
    """The sentences, most telling first."""
    note: str = ""
    """Why the persona is empty or weaker than usual, in a sentence; empty when nothing is odd."""

    @property
    def text(self) -> str:
        """The persona as one paragraph."""
        return " ".join(claim.text for claim in self.claims)

    @property
    def evidence(self) -> Mapping[str, tuple[str, ...]]:
        """For each sentence the ids of its supporting pairs."""
        return {claim.text: claim.supporting for claim in self.claims}

    def __str__(self) -> str:
        return self.text or self.note

    def __repr__(self) -> str:
        return f"Persona(claims={len(self.claims)}, characters={len(self.text)})"
