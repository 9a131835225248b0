"""What is drawn about a user's pairs: the order in which each is shown, and its role, fixed once and for all.

Draws are keyed by what they are about, so that a new pair never changes an old draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.splits import UserSplit, in_time_order, split_context

TRAIN_SHARE = 0.7
"""Of new conversations, as in the split rule."""


def keyed_uniform(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int(digest(*key)[:13], 16) / 16.0**13


def in_balanced_order(pairs: Sequence[PreferencePair], seed: int) -> list[OrderedPair]:
    """Each pair in the order in which it is shown: as many chosen-first as chosen-second, give or take one.

    Neighbors in time form couples; a draw keyed by the first of a couple decides its
    order, the second takes the other. Pairs appended later leave the earlier ones as they were.
    """
    shown: list[OrderedPair] = []
    for place, pair in enumerate(pairs):
        if place % 2 == 0:
            shown.append(OrderedPair(pair, chosen_first=keyed_uniform("order", seed, pair.hash) < 0.5))
        else:
            shown.append(OrderedPair(pair, chosen_first=not shown[-1].chosen_first))
    return shown


def assign_roles(pairs: Sequence[PreferencePair], recorded: Mapping[str, str], seed: int = 0) -> UserSplit:
    """Train and validation of a user's context pairs.

    The first fit follows the split rule. Later, a pair seen before keeps its role; a new
    pair takes the role of its conversation, else train with probability 0.7 by a draw
    keyed by its conversation.

    Args:
        pairs: All context pairs, old and new.
        recorded: Role by pair hash, from the user's latest prompt; empty on the first fit.
        seed: Seed of the draws for new conversations.
    """
    if not any(pair.hash in recorded for pair in pairs):
        return split_context(pairs)
    by_conversation = {pair.conversation_key: recorded[pair.hash] for pair in pairs if pair.hash in recorded}
    parts: dict[str, list[PreferencePair]] = {}
    for pair in (pair for conversation in in_time_order(pairs) for pair in conversation if pair.split != "target"):
        role = recorded.get(pair.hash) or pair.split or by_conversation.get(pair.conversation_key)
        if role is None:
            drawn = keyed_uniform("role", seed, pair.user_id, pair.conversation_key)
            role = "train" if drawn < TRAIN_SHARE else "validation"
        parts.setdefault(role, []).append(pair)
    return UserSplit(train=tuple(parts.get("train", ())), validation=tuple(parts.get("validation", ())))


def record_roles(split: UserSplit) -> dict[str, str]:
    """Role by pair hash, for the saved prompt."""
    return {pair.hash: "train" for pair in split.train} | {pair.hash: "validation" for pair in split.validation}
