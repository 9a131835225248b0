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
from personalrm.preferences import fields
from personalrm.preferences.messages import Message
from personalrm.preferences.options import ReadOptions
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.rated import Dropped, pairs_from_ratings
from personalrm.preferences.rows import Row

MIN_GAP = 10.0


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
        raise BadRow("conversation_history is missing or empty", field="conversation_history", rule="no turns")
    numbered = [entry for entry in history if isinstance(entry, Mapping)]
    turns = [_turn(list(group)) for _, group in groupby(numbered, key=lambda entry: entry.get("turn"))]
    return list(_pairs(turns, row, options))


def read_prism_utterances(rows: Iterator[tuple[int, Row | BadRow]], options: ReadOptions) -> Iterator[tuple[int, Any]]:
    """All pairs of consecutive `utterances` rows that share a conversation."""
    for _, group in groupby(
        rows, key=lambda one: None if isinstance(one[1], BadRow) else one[1].get("conversation_id")
    ):
        conversation = list(group)
        line = conversation[0][0]
        bad = [(number, row) for number, row in conversation if isinstance(row, BadRow)]
        yield from bad
        good = [row for _, row in conversation if not isinstance(row, BadRow)]
        if good:
            try:
                outcomes = list(_from_utterances(good, options))
            except BadRow as error:
                yield line, error
                continue
            yield from ((line, outcome) for outcome in outcomes)


def _from_utterances(rows: Sequence[Row], options: ReadOptions) -> Iterator[PreferencePair | Dropped]:
    turns = []
    for _, group in groupby(sorted(rows, key=lambda row: int(row.get("turn", 0))), key=lambda row: row.get("turn", 0)):
        responses = list(group)
        entries = [{"role": "user", "content": responses[0].get("user_prompt")}]
        entries += [
            {
                "role": "model",
                "content": row.get("model_response"),
                "score": row.get("score"),
                "if_chosen": row.get("if_chosen"),
            }
            for row in responses
        ]
        turns.append(_turn(entries))
    return _pairs(turns, rows[0], options)


def _turn(entries: Sequence[Mapping[str, Any]]) -> _Turn:
    prompt = next((entry.get("content") for entry in entries if entry.get("role") == "user"), None)
    if not isinstance(prompt, str):
        raise BadRow("a turn has no user prompt", field="conversation_history", rule="no user turn")
    responses, followed = [], None
    for entry in entries:
        if entry.get("role") == "user":
            continue
        text = fields.read_text(entry.get("content"), "model_response")
        responses.append((text, fields.read_rating(entry.get("score"), "score")))
        if str(entry.get("if_chosen")).lower() in ("true", "1"):
            followed = text
    return _Turn(prompt, tuple(responses), followed)


def _pairs(turns: Sequence[_Turn], row: Row, options: ReadOptions) -> Iterator[PreferencePair | Dropped]:
    user_id = fields.read_id(row, options.user_column or "user_id")
    conversation: tuple[Message, ...] = ()
    kept = ("conversation_type", "opening_prompt", "conversation_turns")
    meta = {name: row[name] for name in kept if name in row}
    for number, turn in enumerate(turns):
        conversation += (Message("user", turn.prompt),)
        for outcome in pairs_from_ratings(turn.responses, MIN_GAP if options.min_gap is None else options.min_gap):
            if isinstance(outcome, Dropped):
                yield outcome
            else:
                yield PreferencePair(
                    user_id=user_id,
                    conversation=conversation,
                    chosen=outcome[0],
                    rejected=outcome[1],
                    conversation_id=fields.read_optional_id(row, "conversation_id"),
                    timestamp=fields.read_timestamp(row.get("generated_datetime")),
                    split=fields.read_split(row.get("split")),
                    meta={**meta, "turn": number},
                )
        if turn.followed is None:
            return
        conversation += (Message("assistant", turn.followed),)
