"""What changed between two versions of a user's personal prompt, and what made each version.

Versions hold no dates and no story, so that equal pairs give equal bytes; but a restored
one equals an earlier one, an edited one differs from the one before in its persona only,
and a fit changes pairs or settings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from personalrm.errors import BadInput
from personalrm.preferences.drift import Drift
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim
from personalrm.stylometry.sentences import LEVELS, read_claim
from personalrm.wording import count

ChangeKind = Literal["added", "removed", "changed", "kept"]
OriginKind = Literal["fitted", "updated", "fitted_again", "edited", "restored", "unknown"]
MOST_WEIGHTS = 5
LEAST_MOVE = 0.005
"""A weight that moved less (in scaled units) is not shown."""
LIKE = 0.75
"""Two sentences of a language model as alike as this (difflib's ratio) are one that was reworded."""


@dataclass(frozen=True)
class SentenceChange:
    """One sentence in two versions."""

    kind: ChangeKind
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
        moved = any(change != SentenceChange("kept", change.before, change.after) for change in self.sentences)
        return not (self.pairs_added or self.pairs_removed or moved or self.weights) and len(set(self.drift)) == 1

    def count(self, kind: ChangeKind) -> int:
        """Number of sentences that were added, removed, changed or kept."""
        return sum(change.kind == kind for change in self.sentences)

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
    old = {weight.feature: weight.mean for weight in before.weights}
    moved = [
        WeightChange(weight.feature, old[weight.feature], weight.mean)
        for weight in after.weights
        if weight.feature in old and abs(weight.mean - old[weight.feature]) >= LEAST_MOVE
    ]
    moved.sort(key=lambda change: -abs(change.after - change.before))
    left = list(before.persona.claims)
    matched: dict[int, Claim] = {}
    # same words, same features, like words: a sharper match is never lost to a vaguer one
    for is_match in (lambda old, new: old.text == new.text, _is_about_the_same, _is_reworded):
        for place, claim in enumerate(after.persona.claims):
            match = next((other for other in left if is_match(other, claim)), None) if place not in matched else None
            if match is not None:
                matched[place] = match
                left.remove(match)
    sentences = [_change(matched.get(place), claim) for place, claim in enumerate(after.persona.claims)]
    return PromptChanges(
        n_pairs=(len(before.roles), len(after.roles)),
        pairs_added=len(after.context_hashes - before.context_hashes),
        pairs_removed=len(before.context_hashes - after.context_hashes),
        sentences=(*sentences, *(_change(claim, None) for claim in left)),
        weights=tuple(moved[:MOST_WEIGHTS]),
        drift=(before.drift, after.drift),
    )


def _change(before: Claim | None, after: Claim | None) -> SentenceChange:
    if before is None or after is None:
        kind: ChangeKind = "added" if before is None else "removed"
        before, after, adverbs = before or Claim(""), after or Claim(""), None
    else:
        kind = "kept" if before.text == after.text else "changed"
        adverb = re.compile(r"\b(?:" + "|".join(adverb for adverb, _ in LEVELS) + r")\b")
        firsts = [adverb.search(claim.text) for claim in (before, after)]
        words = [match[0] if match else "" for match in firsts]
        adverbs = (words[0], words[1]) if words[0] != words[1] else None
    seen = {*after.supporting, *after.contradicting}
    return SentenceChange(
        kind,
        before.text,
        after.text,
        adverbs,
        now_for=tuple(pair_id for pair_id in after.supporting if pair_id not in before.supporting),
        now_against=tuple(pair_id for pair_id in after.contradicting if pair_id not in before.contradicting),
        no_longer=tuple(pair_id for pair_id in (*before.supporting, *before.contradicting) if pair_id not in seen),
    )


def _is_about_the_same(before: Claim, after: Claim) -> bool:
    """Whether both are about the same features, whatever they say of them."""
    features = [{leaning.feature for leaning in read_claim(claim.text)} for claim in (before, after)]
    return bool(features[0]) and features[0] == features[1]


def _is_reworded(before: Claim, after: Claim) -> bool:
    if read_claim(before.text) or read_claim(after.text):
        return False
    return difflib.SequenceMatcher(None, before.text, after.text, autojunk=False).ratio() >= LIKE


@dataclass(frozen=True)
class Origin:
    """How a version came to be."""

    kind: OriginKind
    """`unknown` where the version before cannot be read."""
    line: str
    """The same in plain words."""
    restored_from: int | None = None
    """The version that is the newest again."""


def origin_of(prompt: PersonalPrompt, earlier: Mapping[int, PersonalPrompt | None]) -> Origin:
    """What made this version.

    Args:
        prompt: The version.
        earlier: All versions before it by number, oldest first; None for one that cannot be read.
    """
    maker = "the embedded engine" if prompt.judge == "embedded" else prompt.judge
    made = f"{count(len(prompt.roles), 'pair')} with {maker}"
    if not earlier:
        return Origin("fitted", f"fitted from {made}")
    same = [number for number, other in earlier.items() if other == prompt]
    if same:
        return Origin("restored", f"restored from version {same[-1]}", same[-1])
    before = list(earlier.values())[-1]
    if before is None:
        return Origin("unknown", f"rests on {made}; the version before cannot be read")
    if replace(before, persona=prompt.persona) == prompt:
        return Origin("edited", "edited by hand")
    changes = compare_prompts(before, prompt)
    if not changes.pairs_added:
        return Origin("fitted_again", f"fitted again from {made}")
    gone = f", {changes.pairs_removed} no longer there" if changes.pairs_removed else ""
    return Origin("updated", f"updated after {count(changes.pairs_added, 'new pair')}{gone}, with {maker}")
