"""The same people for both sides: rows as the published package takes them, pairs as we do.

Everybody likes either the longer or the shorter answer, so how right a judge can be is known; conversations and
completions are those of the example people that ship, marked by user, so that no two users share a request.
"""

import random
from collections.abc import Sequence
from typing import Any

from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.people import example_users
from personalrm.preferences.splits import split_context

N_TARGETS = 6
N_TRIALS = 10
Row = dict[str, Any]


def people(n_users: int) -> list[Row]:
    """One user with 10 pairs, or many with 6 to 20; every other one likes short answers."""
    pairs = [pair for user in example_users() for pair in user]
    texts = [(p.conversation, min(p.chosen, p.rejected, key=len), max(p.rejected, p.chosen, key=len)) for p in pairs]
    users = []
    for number in range(n_users):
        n_pairs = 10 if n_users == 1 else 6 + 7 * number % 15
        drawn = random.Random(number).sample(texts, n_pairs + N_TARGETS)
        rows = [_row(f"u{number}", *one, likes_long=number % 2 == 0) for one in drawn]
        users.append({"user_id": f"u{number}", "context": rows[:n_pairs], "targets": rows[n_pairs:]})
    return users


def _row(user_id: str, conversation: Any, short: str, long: str, *, likes_long: bool) -> Row:
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation]
    turns[-1]["content"] += f" ({user_id} wants to know)"
    chosen, rejected = (long, short) if likes_long else (short, long)
    return {
        "context": turns,
        "chosen": {"role": "assistant", "content": chosen},
        "rejected": {"role": "assistant", "content": rejected},
    }


def pairs_of(user_id: str, rows: list[Row]) -> list[PreferencePair]:
    """The rows as our pairs."""
    return [
        PreferencePair(
            user_id,
            tuple(Message(turn["role"], turn["content"]) for turn in row["context"]),
            row["chosen"]["content"],
            row["rejected"]["content"],
            order_index=place,
        )
        for place, row in enumerate(rows)
    ]


def n_train_and_validation(pairs: Sequence[PreferencePair]) -> tuple[int, int]:
    """n_t and n_v of a user all of whose pairs are context."""
    split = split_context(pairs)
    return len(split.train), len(split.validation)


def most_calls(user: Row) -> int:
    """2 n_t + 2 (T + 1) n_v o + 1 with both orders: the most one full fit may ask."""
    n_t, n_v = n_train_and_validation(pairs_of(user["user_id"], user["context"]))
    return 2 * n_t + 2 * (N_TRIALS + 1) * n_v * 2 + 1
