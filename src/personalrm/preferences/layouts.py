"""Layouts: how the rows of known data sets become preference pairs.

Each layout is a function from numbered rows to outcomes: a pair, a bad row, or a row
that was dropped on purpose with its reason (a tie, a gap too small). `LAYOUTS` is the
table; `detect_layout` recognises one by its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from personalrm.errors import BadRow, UnknownName
from personalrm.preferences import fields
from personalrm.preferences.messages import Conversation
from personalrm.preferences.options import ReadOptions
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prism import read_prism_conversation, read_prism_utterances
from personalrm.preferences.rated import Dropped, pairs_from_ratings
from personalrm.preferences.rows import Row

Outcome = PreferencePair | BadRow | Dropped
Numbered = tuple[int, Outcome]
RowReader = Callable[[Row, ReadOptions], Iterable[PreferencePair | Dropped]]
CONVERSATION_NAMES = ("conversation", "prompt", "context")
KNOWN = frozenset(
    {*CONVERSATION_NAMES, "user_id", "chosen", "rejected", "conversation_id", "pair_id", "timestamp", "order_index"}
    | {"split", "meta", "completions", "thumb"}
)


@dataclass(frozen=True)
class Layout:
    """One layout: which columns give it away, and how its rows are read."""

    columns: frozenset[str]
    """A row with all of these has this layout (the first match in `LAYOUTS` wins)."""
    read: Callable[[Iterator[tuple[int, Row | BadRow]], ReadOptions], Iterator[Numbered]]


def _each(reader: RowReader) -> Callable[[Iterator[tuple[int, Row | BadRow]], ReadOptions], Iterator[Numbered]]:
    """Reads row by row; what is wrong with one row stays with it."""

    def read(rows: Iterator[tuple[int, Row | BadRow]], options: ReadOptions) -> Iterator[Numbered]:
        for line, row in rows:
            if isinstance(row, BadRow):
                yield line, row
                continue
            try:
                outcomes = list(reader(row, options))
            except BadRow as error:
                yield line, error
                continue
            for outcome in outcomes:
                yield line, outcome

    return read


def read_own(row: Row, options: ReadOptions) -> list[PreferencePair]:
    """Our own layout, TRL preference with explicit prompt, and reward-bench.

    The conversation is `conversation`, `prompt` or `context`: a list of turns or text.
    Columns nobody knows are kept as `meta`.
    """
    name = next((name for name in CONVERSATION_NAMES if row.get(name) not in (None, "", [])), "conversation")
    conversation = fields.read_conversation(row.get(name), name)
    return [_pair(row, options, conversation, row.get("chosen"), row.get("rejected"))]


def read_implicit(row: Row, options: ReadOptions) -> list[PreferencePair]:
    """TRL preference with implicit prompt: chosen and rejected are conversations with a common beginning."""
    chosen = fields.read_conversation(row.get("chosen"), "chosen")
    rejected = fields.read_conversation(row.get("rejected"), "rejected")
    n_shared = 0
    while n_shared < min(len(chosen), len(rejected)) and chosen[n_shared] == rejected[n_shared]:
        n_shared += 1
    if n_shared == len(chosen) == len(rejected):
        raise BadRow("chosen and rejected are identical", field="rejected", rule="identical completions")
    if not len(chosen) == len(rejected) == n_shared + 1:
        raise BadRow(
            "chosen and rejected differ in more than their last turn", field="rejected", rule="no common prompt"
        )
    return [_pair(row, options, chosen[:n_shared], chosen[-1].content, rejected[-1].content)]


def read_arena(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """Chatbot Arena: user = `judge`, `winner` is model_a, model_b or a kind of tie.

    Both conversations share their user turns. The shared conversation holds the turns up
    to the last common user turn with the assistant turns that are equal in both; where an
    earlier assistant turn differs, each completion carries its own earlier assistant turns
    (and the user turns between) in front of its last one, as one text.
    """
    winner = row.get("winner")
    if winner not in ("model_a", "model_b"):
        if isinstance(winner, str) and winner.startswith("tie"):
            return [Dropped("tie")]
        raise BadRow(
            f"winner is {str(winner)[:30]!r}; expected model_a, model_b or tie", field="winner", rule="unknown winner"
        )
    first = fields.read_conversation(row.get("conversation_a"), "conversation_a")
    second = fields.read_conversation(row.get("conversation_b"), "conversation_b")
    n_shared = 0
    while n_shared < min(len(first), len(second)) and first[n_shared] == second[n_shared]:
        n_shared += 1
    texts = _own_part(first[n_shared:]), _own_part(second[n_shared:])
    chosen, rejected = texts if winner == "model_a" else texts[::-1]
    rest = {
        key: value for key, value in row.items() if key not in ("conversation_a", "conversation_b", "judge", "tstamp")
    }
    aliased = {
        "user_id": row.get(options.user_column or "judge"),
        "conversation_id": row.get("question_id"),
        "timestamp": row.get("tstamp"),
        "meta": rest,
    }
    return [_pair(aliased, replace(options, user_column=None), first[:n_shared], chosen, rejected)]


def _own_part(turns: Conversation) -> str:
    """What one side of an Arena battle adds after the shared turns, as one text."""
    if not turns or turns[-1].role != "assistant":
        raise BadRow("a conversation does not end with the assistant", field="conversation_a", rule="no completion")
    return "\n\n".join(turn.content if turn.role == "assistant" else f"[{turn.role}]: {turn.content}" for turn in turns)


def read_ratings(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """k rated completions: every two whose ratings differ by at least `min_gap` (default 1) make a pair."""
    conversation = _conversation(row)
    completions = row.get("completions")
    if not isinstance(completions, list) or len(completions) < 2:
        raise BadRow(
            "completions needs at least two rated texts", field="completions", rule="fewer than two completions"
        )
    rated = []
    for one in completions:
        if not isinstance(one, Mapping):
            raise BadRow("a completion is not {content, rating}", field="completions", rule="not rated")
        text = fields.read_text(one.get("content", one.get("completion")), "completions")
        rated.append((text, fields.read_rating(_rating(one), "rating")))
    gap = 1.0 if options.min_gap is None else options.min_gap
    return [
        outcome if isinstance(outcome, Dropped) else _pair(row, options, conversation, *outcome)
        for outcome in pairs_from_ratings(rated, gap)
    ]


def _rating(one: Mapping[str, Any]) -> Any:
    """A number, or thumbs up and down as 1 and 0."""
    thumb = one.get("thumb")
    if isinstance(thumb, str) and thumb.lower() in ("up", "down"):
        return 1.0 if thumb.lower() == "up" else 0.0
    return one.get("rating", one.get("score"))


def read_thumbs(row: Row, options: ReadOptions) -> list[PreferencePair]:
    """A completion with a thumb and its regenerated answer: thumbs down means the regenerated one was chosen."""
    thumb = str(row.get("thumb", "")).lower()
    if thumb not in ("up", "down"):
        raise BadRow(f"thumb is {thumb[:20]!r}; use up or down", field="thumb", rule="unknown thumb")
    texts = row.get("completion"), row.get("regenerated")
    chosen, rejected = texts if thumb == "up" else texts[::-1]
    return [_pair(row, options, _conversation(row), chosen, rejected)]


def _conversation(row: Row) -> Conversation:
    name = next((name for name in CONVERSATION_NAMES if row.get(name) not in (None, "", [])), "conversation")
    return fields.read_conversation(row.get(name), name)


def _pair(row: Row, options: ReadOptions, conversation: Conversation, chosen: Any, rejected: Any) -> PreferencePair:
    """The pair of a row whose conversation and completions have been found."""
    column = options.user_column or "user_id"
    user_id = options.default_user if options.default_user and column not in row else fields.read_id(row, column)
    meta = dict(row["meta"]) if isinstance(row.get("meta"), Mapping) else {}
    meta |= {key: value for key, value in row.items() if key not in KNOWN and key != column}
    return PreferencePair(
        user_id=user_id,
        conversation=conversation,
        chosen=fields.read_text(chosen, "chosen"),
        rejected=fields.read_text(rejected, "rejected"),
        conversation_id=fields.read_optional_id(row, "conversation_id"),
        pair_id=fields.read_optional_id(row, "pair_id"),
        timestamp=fields.read_timestamp(row.get("timestamp")),
        order_index=fields.read_order(row.get("order_index")),
        split=fields.read_split(row.get("split")),
        meta=meta,
    )


LAYOUTS: dict[str, Layout] = {
    "arena": Layout(frozenset({"conversation_a", "conversation_b", "winner"}), _each(read_arena)),
    "prism_conversations": Layout(frozenset({"conversation_history"}), _each(read_prism_conversation)),
    "prism_utterances": Layout(frozenset({"user_prompt", "model_response", "score"}), read_prism_utterances),
    "thumbs": Layout(frozenset({"completion", "regenerated", "thumb"}), _each(read_thumbs)),
    "ratings": Layout(frozenset({"completions"}), _each(read_ratings)),
    "trl_implicit": Layout(frozenset({"chosen", "rejected"}), _each(read_implicit)),
    "pairs": Layout(frozenset({"chosen", "rejected"}), _each(read_own)),
}
"""`pairs` is our own layout; TRL with explicit prompt and reward-bench are read by it too."""


def detect_layout(row: Row) -> str:
    """The layout of a file, from its first row.

    Raises:
        UnknownName: Naming the columns found and the layouts there are.
    """
    for name, layout in LAYOUTS.items():
        if layout.columns <= row.keys():
            if name == "trl_implicit" and any(column in row for column in CONVERSATION_NAMES):
                continue
            return name
    found = ", ".join(sorted(map(str, row))[:12]) or "none"
    raise UnknownName(f"the columns ({found}) fit no known layout; name one with --layout: {', '.join(LAYOUTS)}")
