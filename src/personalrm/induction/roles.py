"""Roles: which context pairs are train and which are validation, fixed once and for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from personalrm.induction.draws import keyed_uniform
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import UserSplit, in_time_order, split_context

TRAIN_SHARE = 0.7


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
    ordered = [pair for conversation in in_time_order(pairs) for pair in conversation]
    roles = [_role(pair, recorded, by_conversation, seed) for pair in ordered if pair.split != "target"]
    kept = [pair for pair in ordered if pair.split != "target"]
    return UserSplit(
        train=tuple(pair for pair, role in zip(kept, roles, strict=True) if role == "train"),
        validation=tuple(pair for pair, role in zip(kept, roles, strict=True) if role == "validation"),
    )


def _role(pair: PreferencePair, recorded: Mapping[str, str], by_conversation: Mapping[str, str], seed: int) -> str:
    if pair.hash in recorded:
        return recorded[pair.hash]
    if pair.split in ("train", "validation"):
        return pair.split
    drawn = "train" if keyed_uniform("role", seed, pair.user_id, pair.conversation_key) < TRAIN_SHARE else "validation"
    return by_conversation.get(pair.conversation_key, drawn)


def record_roles(split: UserSplit) -> dict[str, str]:
    """Role by pair hash, for the saved prompt."""
    return {pair.hash: "train" for pair in split.train} | {pair.hash: "validation" for pair in split.validation}
