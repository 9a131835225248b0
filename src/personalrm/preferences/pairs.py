"""A preference pair, and a pair as a judge sees it.

`PreferencePair` says what a user chose; `OrderedPair` shows it in an order, and is
the only place where chosen/rejected and first/second meet: swapping an ordered pair
swaps its label too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from personalrm.errors import BadRow
from personalrm.preferences.messages import Conversation, check_conversation, conversation_digest, digest

Choice = Literal["first", "second"]
SplitName = Literal["train", "validation", "target"]

NO_META: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, repr=False)
class PreferencePair:
    """One choice of one user between two completions of a conversation."""

    user_id: str
    """Whose choice it is."""
    conversation: Conversation
    """The turns before the completion, ending with a user (or tool or system) turn."""
    chosen: str
    """The completion the user picked."""
    rejected: str
    """The completion the user did not pick."""
    conversation_id: str = ""
    """Pairs of one conversation never straddle a split; empty means: equal text, equal conversation."""
    pair_id: str = ""
    """The caller's name for the pair; empty means: use `hash`."""
    timestamp: float | None = None
    """Seconds since 1970 (UTC), when known."""
    order_index: int | None = None
    """Place in the user's history, when there are no timestamps."""
    split: SplitName | None = None
    """The split the input itself declares, if it does."""
    meta: Mapping[str, Any] = field(default_factory=lambda: NO_META, compare=False)
    """Everything else the row held; never shown to a method."""

    def __post_init__(self) -> None:
        check_conversation(self.conversation)
        for name in ("user_id", "chosen", "rejected"):
            if not getattr(self, name).strip():
                raise BadRow(f"{name} is blank", field=name, rule="blank")
        if self.chosen == self.rejected:
            raise BadRow(
                "chosen and rejected are identical, so nothing was preferred",
                field="rejected",
                rule="identical completions",
            )

    @cached_property
    def hash(self) -> str:
        """Identity of the pair by content: user, conversation, chosen, rejected (16 hex digits)."""
        return digest(self.user_id, conversation_digest(self.conversation), self.chosen, self.rejected)

    @property
    def id(self) -> str:
        """What people call this pair: the caller's `pair_id`, else `hash`."""
        return self.pair_id or self.hash

    @cached_property
    def conversation_key(self) -> str:
        """What groups pairs into conversations: the given id, else a hash of the text."""
        return self.conversation_id or conversation_digest(self.conversation)

    @cached_property
    def choice_key(self) -> str:
        """Pairs with one key are one act of choosing: same conversation text, same chosen text."""
        return digest(self.conversation_key, conversation_digest(self.conversation), self.chosen)

    def reversed(self) -> PreferencePair:
        """The opposite choice, for tests and controls."""
        return replace(self, chosen=self.rejected, rejected=self.chosen)

    def __repr__(self) -> str:
        return (
            f"PreferencePair(user_id={self.user_id!r}, id={self.id!r}, turns={len(self.conversation)}, "
            f"chosen_characters={len(self.chosen)}, rejected_characters={len(self.rejected)})"
        )


@dataclass(frozen=True)
class OrderedPair:
    """A preference pair shown in an order; the label moves with the swap."""

    pair: PreferencePair
    chosen_first: bool
    """Whether the chosen completion is shown first."""

    @property
    def first(self) -> str:
        """The completion shown first."""
        return self.pair.chosen if self.chosen_first else self.pair.rejected

    @property
    def second(self) -> str:
        """The completion shown second."""
        return self.pair.rejected if self.chosen_first else self.pair.chosen

    @property
    def answer(self) -> Choice:
        """The side the user chose."""
        return "first" if self.chosen_first else "second"

    def swapped(self) -> OrderedPair:
        """The same pair in the other order, label included."""
        return replace(self, chosen_first=not self.chosen_first)
