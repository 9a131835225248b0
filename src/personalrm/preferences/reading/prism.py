"""PRISM (Kirk et al. 2024): `conversations` and `utterances` into preference pairs.

For every turn all pairs of candidate responses whose scores (1-100) differ by at least
10 points; chosen = higher score; the conversation continues along the response the
person chose (`if_chosen`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from personalrm.errors import BadRow
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading import fields
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rated import Dropped, pairs_from_ratings
from personalrm.preferences.reading.rows import Row

MIN_GAP = 10.0
KEPT = ("conversation_type", "opening_prompt", "conversation_turns")
"""Columns kept as meta."""


@dataclass(frozen=True)
class _Turn:
    """One user prompt with its candidate responses."""

    prompt: str
    responses: tuple[tuple[str, float], ...]
    followed: str | None
    """The response the conversation went on with."""


def read_prism_conversation(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """All pairs of one row of `conversations`."""
    history = row.get("conversation_history")
    if not isinstance(history, list) or not history:
        raise _bad("conversation_history is missing or empty", "no turns")
    for entry in history:
        role = entry.get("role") if isinstance(entry, Mapping) else None
        if role not in ("user", "model"):
            raise _bad("conversation_history has an entry whose role is neither user nor model", "unknown role")
    turns = [_turn(list(group)) for _, group in groupby(history, key=lambda entry: entry.get("turn"))]
    return list(_pairs(turns, row, options))


def read_prism_utterances(rows: Iterator[tuple[int, Row | BadRow]], options: ReadOptions) -> Iterator[tuple[int, Any]]:
    """All pairs of consecutive `utterances` rows of one user and conversation.

    A bad row takes its whole conversation with it, since later turns rest on it; the
    other rows are counted as dropped.
    """
    for _, group in groupby(_checked(rows, options), key=lambda one: one[2]):
        numbered = [(line, row) for line, row, _ in group]
        bad = [(line, row) for line, row in numbered if isinstance(row, BadRow)]
        if bad:
            yield from bad
            rest = len(numbered) - len(bad)
            yield from ((numbered[0][0], Dropped("response in a conversation with a bad row")) for _ in range(rest))
            continue
        good = [row for _, row in numbered if not isinstance(row, BadRow)]
        try:
            outcomes = list(_from_utterances(good, options))
        except BadRow as error:
            yield numbered[0][0], error
            continue
        yield from ((numbered[0][0], outcome) for outcome in outcomes)


def _checked(
    rows: Iterator[tuple[int, Row | BadRow]], options: ReadOptions
) -> Iterator[tuple[int, Row | BadRow, tuple[str, ...]]]:
    """Each row after its own checks, with the user and conversation it belongs to (of the row before, if unknown)."""
    key: tuple[str, ...] = ()
    for line, row in rows:
        if isinstance(row, BadRow):
            yield line, row, key
            continue
        try:
            key = (fields.read_user(row, options), fields.read_id(row, "conversation_id"))
            yield line, row | {"turn": _checked_turn(row)}, key
        except BadRow as error:
            yield line, error, key


def _checked_turn(row: Row) -> int:
    """The number of a row's turn, once its texts and its score have been read."""
    if not isinstance(row.get("user_prompt"), str):
        raise BadRow("user_prompt is missing or not text", field="user_prompt", rule="no user turn")
    fields.read_text(row.get("model_response"), "model_response")
    fields.read_rating(row.get("score"), "score")
    return int(fields.read_rating(row.get("turn", 0), "turn"))


def _from_utterances(rows: Sequence[Row], options: ReadOptions) -> Iterator[PreferencePair | Dropped]:
    turns = []
    for _, group in groupby(sorted(rows, key=lambda row: int(row["turn"])), key=lambda row: row["turn"]):
        responses = list(group)
        asked = {"role": "user", "content": responses[0]["user_prompt"]}
        turns.append(_turn([asked] + [{**row, "role": "model", "content": row["model_response"]} for row in responses]))
    return _pairs(turns, rows[0], options)


def _turn(entries: Sequence[Mapping[str, Any]]) -> _Turn:
    prompt = next((entry.get("content") for entry in entries if entry["role"] == "user"), None)
    if not isinstance(prompt, str):
        raise _bad("a turn has no user prompt", "no user turn")
    responses, followed = [], None
    for entry in entries:
        if entry["role"] == "user":
            continue
        text = fields.read_text(entry.get("content"), "model_response")
        responses.append((text, fields.read_rating(entry.get("score"), "score")))
        if str(entry.get("if_chosen")).lower() in ("true", "1"):
            followed = text
    return _Turn(prompt, tuple(responses), followed)


def _pairs(turns: Sequence[_Turn], row: Row, options: ReadOptions) -> Iterator[PreferencePair | Dropped]:
    conversation: tuple[Message, ...] = ()
    gap = MIN_GAP if options.min_gap is None else options.min_gap
    for number, turn in enumerate(turns):
        conversation += (Message("user", turn.prompt),)
        for outcome in pairs_from_ratings(turn.responses, gap):
            yield outcome if isinstance(outcome, Dropped) else _pair(row, options, conversation, outcome, number)
        if turn.followed is None:
            for _ in turns[number + 1 :]:
                yield Dropped("turn after one without a chosen response")
            return
        conversation += (Message("assistant", turn.followed),)


def _pair(
    row: Row, options: ReadOptions, conversation: Conversation, texts: tuple[str, str], turn: int
) -> PreferencePair:
    return PreferencePair(
        user_id=fields.read_user(row, options),
        conversation=conversation,
        chosen=texts[0],
        rejected=texts[1],
        conversation_id=fields.read_optional_id(row, "conversation_id"),
        timestamp=fields.read_timestamp(row.get("generated_datetime")),
        split=fields.read_split(row.get("split")),
        meta={**{name: row[name] for name in KEPT if name in row}, "turn": turn},
    )


def _bad(message: str, rule: str) -> BadRow:
    return BadRow(message, field="conversation_history", rule=rule)
