"""Judges with known failings: positions preferred, personas ignored, replies that cannot be read."""

from __future__ import annotations

from personalrm.testing.skill import (
    Messages,
    Rule,
    Seen,
    failing,
    likes,
    share_of_pair,
    share_of_text,
    skilled,
    verdict_reply,
)


def biased(inner: Rule, share: float) -> Rule:
    """A judge that names the first completion of a share of the pairs, and otherwise answers as `inner` does."""

    def rule(messages: Messages) -> str:
        seen = Seen.of(messages)
        is_biased = not seen.asks_for_persona and share_of_pair(seen.first, seen.second) < share
        return verdict_reply(seen, "first", "it comes first") if is_biased else inner(messages)

    return rule


def deaf(default: str = "longer") -> Rule:
    """A judge that writes personas and then ignores them: every verdict follows one taste."""
    write_persona = skilled()

    def rule(messages: Messages) -> str:
        seen = Seen.of(messages)
        if seen.asks_for_persona:
            return write_persona(messages)
        choice = "first" if likes(default, seen.first, seen.second) else "second"
        return verdict_reply(seen, choice, f"{default} answers are better")

    return rule


def mumbling(inner: Rule, share: float) -> Rule:
    """A judge whose reply about a share of the pairs cannot be read in the order in which it is asked."""

    def rule(messages: Messages) -> str:
        seen = Seen.of(messages)
        mumbles = not seen.asks_for_persona and share_of_order(seen.first, seen.second) < share
        return failing(messages) if mumbles else inner(messages)

    return rule


def share_of_order(first: str, second: str) -> float:
    """A number in [0, 1) that belongs to two completions in this order."""
    return share_of_text(f"{first}\0{second}")
