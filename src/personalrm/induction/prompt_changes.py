"""What changed between two versions of a user's personal prompt: pairs, sentences, weights, taste."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from personalrm.errors import BadInput
from personalrm.preferences.drift import Drift
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim
from personalrm.stylometry.claims import LEVELS, read_claim

Kind = Literal["added", "removed", "changed", "kept"]
MOST_WEIGHTS = 5
LEAST_MOVE = 0.005
"""A weight that moved less (in scaled units) is not told."""
LIKE = 0.75
"""Two sentences of a language model as alike as this (difflib's ratio) are one that was reworded."""
_WORDS = re.compile(r"\b(?:" + "|".join(adverb for adverb, _ in LEVELS) + r")\b")


@dataclass(frozen=True)
class SentenceChange:
    """One sentence in two versions."""

    kind: Kind
    before: str = ""
    """Empty for a sentence that was added."""
    after: str = ""
    """Empty for a sentence that was removed."""
    adverb: tuple[str, str] | None = None
    """How much was wanted before and after, where that changed."""
    now_for: tuple[str, ...] = ()
    """Ids of pairs that support it only since."""
    now_against: tuple[str, ...] = ()
    """Ids of pairs that contradict it only since."""
    no_longer: tuple[str, ...] = ()
    """Ids of pairs that were evidence before and are not any more."""


@dataclass(frozen=True)
class WeightChange:
    """How far one weight moved, in scaled units."""

    feature: str
    before: float
    after: float


@dataclass(frozen=True, repr=False)
class PromptChanges:
    """Everything that changed between two prompts."""

    n_pairs: tuple[int, int]
    pairs_added: int
    pairs_removed: int
    sentences: tuple[SentenceChange, ...]
    """In the order of the newer persona, removed ones last."""
    weights: tuple[WeightChange, ...]
    """Those that moved most, at most `MOST_WEIGHTS`."""
    drift: tuple[Drift | None, Drift | None]

    @property
    def is_empty(self) -> bool:
        """Whether nothing a person would notice changed."""
        sentences = [one for one in self.sentences if one != SentenceChange("kept", one.before, one.after)]
        return not (self.pairs_added or self.pairs_removed or sentences or self.weights) and len(set(self.drift)) == 1

    def count(self, kind: Kind) -> int:
        """Number of sentences that were added, removed, changed or kept."""
        return sum(one.kind == kind for one in self.sentences)

    def as_json(self) -> dict[str, Any]:
        """The changes as JSON values."""
        return asdict(self)


def compare_prompts(before: PersonalPrompt, after: PersonalPrompt) -> PromptChanges:
    """What changed from one prompt to another of the same user.

    Raises:
        BadInput: If they are of two users.
    """
    if before.user_id != after.user_id:
        raise BadInput(
            f"prompts of two users, {before.user_id!r} and {after.user_id!r}, have no changes; compare one user's"
        )
    return PromptChanges(
        n_pairs=(len(before.roles), len(after.roles)),
        pairs_added=len(after.context_hashes - before.context_hashes),
        pairs_removed=len(before.context_hashes - after.context_hashes),
        sentences=tuple(_compare_claims(before.persona.claims, after.persona.claims)),
        weights=_compare_weights(before, after),
        drift=(before.drift, after.drift),
    )


def _compare_claims(before: Sequence[Claim], after: Sequence[Claim]) -> list[SentenceChange]:
    left = list(before)
    matched: dict[int, Claim] = {}
    for is_match in (_is_same, _is_about_the_same, _is_reworded):  # a sharper match is never lost to a vaguer one
        for place, claim in enumerate(after):
            old = next((one for one in left if is_match(one, claim)), None) if place not in matched else None
            if old is not None:
                matched[place] = old
                left.remove(old)
    changes = [_change(matched.get(place), claim) for place, claim in enumerate(after)]
    return changes + [_change(claim, None) for claim in left]


def _change(before: Claim | None, after: Claim | None) -> SentenceChange:
    if before is None or after is None:
        gone = Claim("")
        kind: Kind = "added" if before is None else "removed"
        return SentenceChange(
            kind, (before or gone).text, (after or gone).text, None, *_moved(before or gone, after or gone)
        )
    kind = "kept" if before.text == after.text else "changed"
    adverbs = (_adverb(before.text), _adverb(after.text))
    return SentenceChange(
        kind, before.text, after.text, None if adverbs[0] == adverbs[1] else adverbs, *_moved(before, after)
    )


def _moved(before: Claim, after: Claim) -> tuple[tuple[str, ...], ...]:
    """Pairs that support it, contradict it, or are no evidence, only since."""
    seen = {*after.supporting, *after.contradicting}
    gone = tuple(one for one in (*before.supporting, *before.contradicting) if one not in seen)
    return (
        tuple(one for one in after.supporting if one not in before.supporting),
        tuple(one for one in after.contradicting if one not in before.contradicting),
        gone,
    )


def _is_same(before: Claim, after: Claim) -> bool:
    return before.text == after.text


def _is_about_the_same(before: Claim, after: Claim) -> bool:
    """Whether both are about the same features, whatever they say of them."""
    features = [{leaning.feature for leaning in read_claim(claim.text)} for claim in (before, after)]
    return bool(features[0]) and features[0] == features[1]


def _is_reworded(before: Claim, after: Claim) -> bool:
    if read_claim(before.text) or read_claim(after.text):
        return False
    return difflib.SequenceMatcher(None, before.text, after.text, autojunk=False).ratio() >= LIKE


def _adverb(text: str) -> str:
    """The first adverb of a sentence; empty when it has none."""
    found = _WORDS.search(text)
    return found[0] if found else ""


def _compare_weights(before: PersonalPrompt, after: PersonalPrompt) -> tuple[WeightChange, ...]:
    old = {weight.feature: weight.mean for weight in before.weights}
    moved = [
        WeightChange(weight.feature, old[weight.feature], weight.mean)
        for weight in after.weights
        if weight.feature in old and abs(weight.mean - old[weight.feature]) >= LEAST_MOVE
    ]
    return tuple(sorted(moved, key=lambda one: -abs(one.after - one.before))[:MOST_WEIGHTS])
