"""Layouts: how the rows of known data sets become preference pairs.

Each layout is a function from numbered rows to outcomes: a pair, a bad row, or a row
that was dropped on purpose with its reason (a tie, a gap too small). `LAYOUTS` is the
table; `detect_layout` recognises one by its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from personalrm.errors import BadRow, UnknownName
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading import fields
from personalrm.preferences.reading.columns import advise_columns, list_columns, look_like_names
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.prism import read_prism_conversation, read_prism_utterances
from personalrm.preferences.reading.rated import Dropped, pairs_from_ratings
from personalrm.preferences.reading.rows import Row

Outcome = PreferencePair | BadRow | Dropped
Numbered = tuple[int, Outcome]
RowReader = Callable[[Row, ReadOptions], Iterable[PreferencePair | Dropped]]
CONVERSATION_NAMES = ("conversation", "prompt", "context")
ARENA_FIELDS = frozenset({"conversation_a", "conversation_b", "tstamp", "split"})
FIELDS = frozenset(
    {"user_id", "chosen", "rejected", "conversation_id", "pair_id", "timestamp", "order_index", "split", "meta"}
)
"""Columns that become fields of a pair; a layout adds those it reads itself, the rest is meta."""


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
    name, conversation = _conversation(row)
    return [_pair(row, options, conversation, row.get("chosen"), row.get("rejected"), used={name})]


def read_implicit(row: Row, options: ReadOptions) -> list[PreferencePair]:
    """TRL preference with implicit prompt: chosen and rejected are conversations with a common beginning."""
    chosen = fields.read_conversation(row.get("chosen"), "chosen")
    rejected = fields.read_conversation(row.get("rejected"), "rejected")
    n_shared = _n_shared(chosen, rejected)
    if n_shared == len(chosen) == len(rejected):
        raise _identical("chosen and rejected")
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant":
            raise BadRow(f"{name} does not end with the assistant", field=name, rule="no completion")
    if not len(chosen) == len(rejected) == n_shared + 1:
        raise BadRow(
            "chosen and rejected differ in more than their last turn", field="rejected", rule="no common prompt"
        )
    return [_pair(row, options, chosen[:n_shared], chosen[-1].content, rejected[-1].content)]


def _n_shared(first: Conversation, second: Conversation) -> int:
    """How many turns the beginnings have in common."""
    same = (one == other for one, other in zip(first, second, strict=False))
    return next((number for number, is_same in enumerate(same) if not is_same), min(len(first), len(second)))


def _identical(what: str) -> BadRow:
    return BadRow(f"{what} are identical, so nothing was preferred", field="rejected", rule="identical completions")


def read_arena(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """Chatbot Arena: user = `judge`, `winner` is model_a, model_b or a kind of tie.

    The rule for several turns: both conversations must have the same user turns. The turns
    before the first difference are the conversation; where only the last answers differ,
    these are the completions. Where an earlier answer differs already, each completion
    carries its own earlier answers, with the user turns between, in front of its last one,
    as one text.
    """
    winner = row.get("winner")
    if winner not in ("model_a", "model_b"):
        if isinstance(winner, str) and winner.startswith("tie"):
            return [Dropped("tie")]
        raise BadRow(
            f"winner is {str(winner)[:30]!r}; expected model_a, model_b or tie", field="winner", rule="unknown winner"
        )
    first = _battle_side(row, "conversation_a")
    second = _battle_side(row, "conversation_b")
    if first == second:
        raise _identical("conversation_a and conversation_b")
    if [turn for turn in first if turn.role == "user"] != [turn for turn in second if turn.role == "user"]:
        raise BadRow("the user turns of both sides differ", field="conversation_b", rule="user turns differ")
    n_shared = _n_shared(first, second)
    texts = _own_part(first[n_shared:]), _own_part(second[n_shared:])
    chosen, rejected = texts if winner == "model_a" else texts[::-1]
    column = options.user_column or "judge"
    aliased = {
        "user_id": row.get(column),
        "conversation_id": row.get("question_id"),
        "timestamp": row.get("tstamp"),
        "split": row.get("split"),
        "meta": {key: value for key, value in row.items() if key not in {*ARENA_FIELDS, column}},
    }
    return [_pair(aliased, replace(options, user_column=None), first[:n_shared], chosen, rejected)]


def _battle_side(row: Row, name: str) -> Conversation:
    turns = fields.read_conversation(row.get(name), name)
    if turns[-1].role != "assistant":
        raise BadRow(f"{name} does not end with the assistant", field=name, rule="no completion")
    return turns


def _own_part(turns: Conversation) -> str:
    """What one side of an Arena battle adds after the shared turns, as one text."""
    return "\n\n".join(turn.content if turn.role == "assistant" else f"[{turn.role}]: {turn.content}" for turn in turns)


def read_ratings(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """k rated completions: every two whose ratings differ by at least `min_gap` (default 1) make a pair."""
    name, conversation = _conversation(row)
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
        outcome
        if isinstance(outcome, Dropped)
        else _pair(row, options, conversation, *outcome, used={name, "completions"})
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
    name, conversation = _conversation(row)
    used = {name, "completion", "regenerated", "thumb"}
    return [_pair(row, options, conversation, chosen, rejected, used=used)]


def _conversation(row: Row) -> tuple[str, Conversation]:
    """The column that holds the conversation, and the conversation; an empty text is an empty user turn."""
    given = [name for name in CONVERSATION_NAMES if row.get(name) not in (None, [])]
    name = next((name for name in given if row[name] != ""), given[0] if given else CONVERSATION_NAMES[0])
    return name, fields.read_conversation(row.get(name), name)


def _pair(
    row: Row,
    options: ReadOptions,
    conversation: Conversation,
    chosen: Any,
    rejected: Any,
    *,
    used: Set[str] = frozenset(),
) -> PreferencePair:
    """The pair of a row whose conversation and completions have been found; columns not used are meta."""
    column = options.user_column or "user_id"
    given = row.get("meta")
    meta = dict(given) if isinstance(given, Mapping) else {} if given is None else {"meta": given}
    for key, value in row.items():
        if value is not None and key not in FIELDS and key not in used and key != column:
            meta[key] = value
    return PreferencePair(
        user_id=fields.read_user(row, options),
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


def find_layout(row: Row) -> str | None:
    """The first layout whose columns the row has, or None."""
    for name, layout in LAYOUTS.items():
        if layout.columns <= row.keys():
            has_conversation = any(one in row for one in CONVERSATION_NAMES)
            if name == "trl_implicit" and (has_conversation or not isinstance(row["chosen"], list)):
                continue
            if name == "pairs" and not has_conversation:
                continue
            return name
    return None


def detect_layout(row: Row) -> str:
    """The layout of a row.

    Raises:
        UnknownName: Naming the columns found and the layouts there are.
    """
    name = find_layout(row)
    if name is not None:
        return name
    advice = advise_columns(row) or f"name one with --layout: {', '.join(LAYOUTS)}"
    if not look_like_names(map(str, row)):
        advice = "write the names of the columns there: user_id, prompt, chosen, rejected"
    raise UnknownName(f"{list_columns(row)} fit no known layout; {advice}")
