"""Layouts: how the rows of known data sets, and of packages that declare one, become preference pairs.

A layout is a function from a row to pairs, or to what was dropped on purpose with its reason (a tie, a gap too
small); what is wrong with a row is a `BadRow`. `LAYOUTS` is the table of ours. One of another package is named
`package.module:name`, or by its entry point of the group `personalrm.layouts`, and is read like ours. `detect_layout`
recognizes a layout by its columns.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

from personalrm.errors import BadInput, BadRow, PersonalRMError, UnknownName
from personalrm.plugins import entry_points_of, load_named, place_of
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.reading import fields
from personalrm.preferences.reading.columns import advise_columns, list_columns, look_like_names
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rows import Numbered, Row
from personalrm.typed_values import suggestion
from personalrm.wording import kind_of

CONVERSATION_NAMES = ("conversation", "prompt", "context")
ARENA_FIELDS = frozenset({"conversation_a", "conversation_b", "tstamp", "split"})
FIELDS = frozenset(
    {"user_id", "chosen", "rejected", "conversation_id", "pair_id", "timestamp", "order_index", "split", "meta"}
)
"""Columns that become fields of a pair; a layout adds those it reads itself, the rest is meta."""
PRISM_MIN_GAP = 10.0
PRISM_KEPT = ("conversation_type", "opening_prompt", "conversation_turns")
"""Columns of PRISM kept as meta."""


@dataclass(frozen=True)
class Dropped:
    """A row, or two ratings of it, that make no pair; not an error, but counted."""

    reason: str


Outcome = PreferencePair | BadRow | Dropped


@dataclass(frozen=True)
class Layout:
    """One layout: how its rows are read, and what tells that a row has it."""

    read: Callable[[Any, ReadOptions], Iterable[PreferencePair | Dropped]]
    """From a row to its pairs; from a list of rows where `together` names columns."""
    columns: Set[str] = frozenset()
    """A row with all of these has this layout, unless `fits` says no; without any it is not recognized, only named."""
    fits: Callable[[Row], bool] = lambda row: True
    """What else a row with these columns must be."""
    together: tuple[str, ...] = ()
    """Columns of ids: rows that follow each other and are equal in these and in their user make one conversation, and
    are read together. A bad row takes its whole conversation with it, since later turns rest on it."""
    check: Callable[[Row], object] = lambda row: None
    """Raises `BadRow` for a row that is bad by itself, so that the error of a conversation names the row's line."""

    def shows_in(self, row: Row) -> bool:
        """Whether the row looks like one of this layout."""
        return bool(self.columns) and self.columns <= row.keys() and self.fits(row)

    def outcomes(self, rows: Iterable[Numbered], options: ReadOptions) -> Iterator[tuple[int, Outcome]]:
        """What becomes of numbered rows; what is wrong with a row stays with it and the rows it is read with."""
        for group in self._groups(rows, options):
            line = group[0][0]
            bad = [(number, row) for number, row in group if isinstance(row, BadRow)]
            if bad:
                yield from bad
                for _ in range(len(group) - len(bad)):
                    yield line, Dropped("response in a conversation with a bad row")
                continue
            try:
                outcomes = list(self.read([row for _, row in group] if self.together else group[0][1], options))
            except BadRow as error:
                yield line, error
                continue
            for outcome in outcomes:
                yield line, outcome

    def _groups(self, rows: Iterable[Numbered], options: ReadOptions) -> Iterator[list[Numbered]]:
        if not self.together:
            yield from ([numbered] for numbered in rows)
            return

        def checked() -> Iterator[tuple[tuple[str, ...], Numbered]]:
            key: tuple[str, ...] = ()  # a row that does not say its own belongs to the conversation before it
            for line, row in rows:
                outcome = row
                if not isinstance(row, BadRow):
                    try:
                        key = (fields.read_user(row, options), *(fields.read_id(row, name) for name in self.together))
                        self.check(row)
                    except BadRow as error:
                        outcome = error
                yield key, (line, outcome)

        for _, group in groupby(checked(), key=lambda keyed: keyed[0]):
            yield [numbered for _, numbered in group]


def read_own(row: Row, options: ReadOptions) -> list[PreferencePair]:
    """Our own layout, TRL preference with explicit prompt, and reward-bench.

    The conversation is `conversation`, `prompt` or `context`: a list of turns or text.
    Columns nobody knows are kept as `meta`.
    """
    name, conversation = read_first_conversation(row)
    return [_pair(row, options, conversation, row.get("chosen"), row.get("rejected"), used={name})]


def _has_conversation(row: Row) -> bool:
    return any(name in row for name in CONVERSATION_NAMES)


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
    same = (turn == other for turn, other in zip(first, second, strict=False))
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
    sides = []
    for name in ("conversation_a", "conversation_b"):
        turns = fields.read_conversation(row.get(name), name)
        if turns[-1].role != "assistant":
            raise BadRow(f"{name} does not end with the assistant", field=name, rule="no completion")
        sides.append(turns)
    first, second = sides
    if first == second:
        raise _identical("conversation_a and conversation_b")
    if [turn for turn in first if turn.role == "user"] != [turn for turn in second if turn.role == "user"]:
        raise BadRow("the user turns of both sides differ", field="conversation_b", rule="user turns differ")
    n_shared = _n_shared(first, second)
    texts = [
        "\n\n".join(turn.content if turn.role == "assistant" else f"[{turn.role}]: {turn.content}" for turn in turns)
        for turns in (first[n_shared:], second[n_shared:])
    ]
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


def read_ratings(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """k rated completions: every two whose ratings differ by at least `min_gap` (default 1) make a pair."""
    name, conversation = read_first_conversation(row)
    completions = row.get("completions")
    if not isinstance(completions, list) or len(completions) < 2:
        raise BadRow(
            "completions needs at least two rated texts", field="completions", rule="fewer than two completions"
        )
    rated = []
    for completion in completions:
        if not isinstance(completion, Mapping):
            raise BadRow("a completion is not {content, rating}", field="completions", rule="not rated")
        text = fields.read_text(completion.get("content", completion.get("completion")), "completions")
        rating, thumb = completion.get("rating", completion.get("score")), completion.get("thumb")
        if isinstance(thumb, str) and thumb.lower() in ("up", "down"):
            rating = 1.0 if thumb.lower() == "up" else 0.0
        rated.append((text, fields.read_rating(rating, "rating")))
    gap = 1.0 if options.min_gap is None else options.min_gap
    return [
        outcome
        if isinstance(outcome, Dropped)
        else _pair(row, options, conversation, *outcome, used={name, "completions"})
        for outcome in _pairs_from_ratings(rated, gap)
    ]


def _pairs_from_ratings(rated: Sequence[tuple[str, float]], gap: float) -> Iterator[tuple[str, str] | Dropped]:
    """(chosen, rejected) of every two rated texts whose ratings differ by the gap, higher rating first."""
    for (text, rating), (other, other_rating) in combinations(rated, 2):
        if text == other:
            yield Dropped("identical completions")
        elif abs(rating - other_rating) < gap:
            yield Dropped("gap of ratings too small")
        else:
            yield (text, other) if rating > other_rating else (other, text)


def read_thumbs(row: Row, options: ReadOptions) -> list[PreferencePair]:
    """A completion with a thumb and its regenerated answer: thumbs down means the regenerated one was chosen."""
    thumb = str(row.get("thumb", "")).lower()
    if thumb not in ("up", "down"):
        raise BadRow(f"thumb is {thumb[:20]!r}; use up or down", field="thumb", rule="unknown thumb")
    texts = row.get("completion"), row.get("regenerated")
    chosen, rejected = texts if thumb == "up" else texts[::-1]
    name, conversation = read_first_conversation(row)
    used = {name, "completion", "regenerated", "thumb"}
    return [_pair(row, options, conversation, chosen, rejected, used=used)]


def read_first_conversation(row: Row) -> tuple[str, Conversation]:
    """The first column of a conversation that says something, and its turns; an empty text is an empty user turn.

    Raises:
        BadRow: If there is none, or a turn has a wrong role or content.
    """
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


def read_prism_conversation(row: Row, options: ReadOptions) -> list[PreferencePair | Dropped]:
    """PRISM (Kirk et al. 2024): all pairs of one row of `conversations`."""
    history = row.get("conversation_history")
    if not isinstance(history, list) or not history:
        raise _bad_history("conversation_history is missing or empty", "no turns")
    for entry in history:
        role = entry.get("role") if isinstance(entry, Mapping) else None
        if role not in ("user", "model"):
            raise _bad_history("conversation_history has an entry whose role is neither user nor model", "unknown role")
    turns = [list(group) for _, group in groupby(history, key=lambda entry: entry.get("turn"))]
    return list(_prism_pairs(turns, row, options))


def read_prism_utterances(rows: Sequence[Row], options: ReadOptions) -> list[PreferencePair | Dropped]:
    """PRISM: all pairs of the `utterances` rows of one conversation, which hold one response each."""
    turns = []
    for _, group in groupby(sorted(rows, key=_utterance_turn), key=_utterance_turn):
        responses = list(group)
        asked = {"role": "user", "content": responses[0]["user_prompt"]}
        turns.append([asked, *({**row, "role": "model", "content": row["model_response"]} for row in responses)])
    return list(_prism_pairs(turns, rows[0], options))


def _check_utterance(row: Row) -> None:
    if not isinstance(row.get("user_prompt"), str):
        raise BadRow("user_prompt is missing or not text", field="user_prompt", rule="no user turn")
    fields.read_text(row.get("model_response"), "model_response")
    fields.read_rating(row.get("score"), "score")
    _utterance_turn(row)


def _utterance_turn(row: Row) -> int:
    return int(fields.read_rating(row.get("turn", 0), "turn"))


def _prism_pairs(
    turns: Sequence[Sequence[Mapping[str, Any]]], row: Row, options: ReadOptions
) -> Iterator[PreferencePair | Dropped]:
    """The pairs of a conversation, given the entries of each turn: the user's prompt and the candidate responses.

    For every turn all pairs of responses whose scores (1-100) differ by at least 10 points; chosen = higher score;
    the conversation goes on along the response the person chose (`if_chosen`).
    """
    parsed: list[tuple[str, list[tuple[str, float]], str | None]] = []  # all first: an error in a later turn counts
    for entries in turns:
        prompt = next((entry.get("content") for entry in entries if entry["role"] == "user"), None)
        if not isinstance(prompt, str):
            raise _bad_history("a turn has no user prompt", "no user turn")
        responses, followed = [], None
        for entry in entries:
            if entry["role"] == "user":
                continue
            text = fields.read_text(entry.get("content"), "model_response")
            responses.append((text, fields.read_rating(entry.get("score"), "score")))
            if str(entry.get("if_chosen")).lower() in ("true", "1"):
                followed = text
        parsed.append((prompt, responses, followed))
    conversation: Conversation = ()
    gap = PRISM_MIN_GAP if options.min_gap is None else options.min_gap
    for number, (prompt, responses, followed) in enumerate(parsed):
        conversation += (Message("user", prompt),)
        for outcome in _pairs_from_ratings(responses, gap):
            if isinstance(outcome, Dropped):
                yield outcome
                continue
            yield PreferencePair(
                user_id=fields.read_user(row, options),
                conversation=conversation,
                chosen=outcome[0],
                rejected=outcome[1],
                conversation_id=fields.read_optional_id(row, "conversation_id"),
                timestamp=fields.read_timestamp(row.get("generated_datetime")),
                split=fields.read_split(row.get("split")),
                meta={**{name: row[name] for name in PRISM_KEPT if name in row}, "turn": number},
            )
        if followed is None:
            for _ in parsed[number + 1 :]:
                yield Dropped("turn after one without a chosen response")
            return
        conversation += (Message("assistant", followed),)


def _bad_history(message: str, rule: str) -> BadRow:
    return BadRow(message, field="conversation_history", rule=rule)


LAYOUTS: dict[str, Layout] = {
    "arena": Layout(read_arena, frozenset({"conversation_a", "conversation_b", "winner"})),
    "prism_conversations": Layout(read_prism_conversation, frozenset({"conversation_history"})),
    "prism_utterances": Layout(
        read_prism_utterances,
        frozenset({"user_prompt", "model_response", "score"}),
        together=("conversation_id",),
        check=_check_utterance,
    ),
    "thumbs": Layout(read_thumbs, frozenset({"completion", "regenerated", "thumb"})),
    "ratings": Layout(read_ratings, frozenset({"completions"})),
    "trl_implicit": Layout(
        read_implicit,
        frozenset({"chosen", "rejected"}),
        fits=lambda row: not _has_conversation(row) and isinstance(row["chosen"], list),
    ),
    "pairs": Layout(read_own, frozenset({"chosen", "rejected"}), fits=_has_conversation),
}
"""The first that a row fits is taken. `pairs` is our own; it also reads TRL with explicit prompt and reward-bench."""


def layout_named(name: str) -> Layout:
    """The layout of a name: of the table, `package.module:name`, or an entry point of `personalrm.layouts`.

    Raises:
        UnknownName: If there is none, with the one that was probably meant.
        BadInput: If what another package gives is not a layout.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    if place := place_of(name, LAYOUTS, "layouts"):
        return _other_layout(name, place)
    raise UnknownName(f"unknown layout {name!r}; {suggestion(name, (*LAYOUTS, *entry_points_of('layouts')))}")


def find_layout(row: Row) -> str | None:
    """The first layout that the row fits, or None.

    Those of other packages are asked after ours, so that installing one changes nothing that was read before.
    """
    ours = next((name for name, layout in LAYOUTS.items() if layout.shows_in(row)), None)
    return ours or next((name for name in entry_points_of("layouts") if layout_named(name).shows_in(row)), None)


def detect_layout(row: Row) -> str:
    """The layout of a row.

    Raises:
        UnknownName: Naming the columns found and the layouts there are.
    """
    name = find_layout(row)
    if name is not None:
        return name
    known = (*LAYOUTS, *entry_points_of("layouts"))
    advice = advise_columns(row) or f"name one with --layout: {', '.join(known)}"
    if not look_like_names(map(str, row)):
        advice = "write the names of the columns there: user_id, prompt, chosen, rejected"
    raise UnknownName(f"{list_columns(row)} fit no known layout; {advice}")


@cache
def _other_layout(name: str, place: str) -> Layout:
    """The layout of another package: a `Layout`, or a function from a row and `ReadOptions` to pairs.

    Whatever its functions do wrong becomes the `BadRow` of the row they did it with, and its pairs go through the
    checks of rows of our own layout.
    """
    loaded = load_named(place, "layout", "function or Layout", _may_be_layout, example="name")
    layout = loaded if isinstance(loaded, Layout) else Layout(loaded)
    for key in ("columns", "together"):
        names = getattr(layout, key)
        is_group = isinstance(names, Set | Sequence) and not isinstance(names, str)
        if not is_group or not all(isinstance(column, str) for column in names):
            raise BadInput(f"{key} of layout {name!r} is {names!r}, not names of columns; write them as a set or tuple")
    try:
        inspect.signature(layout.read).bind(None, None)
    except TypeError:
        raise BadInput(
            f"layout {name!r} cannot be called with a row and ReadOptions; let it take these two parameters"
        ) from None
    except ValueError:  # written in C, without a signature
        pass

    def read(rows: Any, options: ReadOptions) -> list[PreferencePair | Dropped]:
        outcomes = _called(name, lambda: layout.read(rows, options))
        if not isinstance(outcomes, Iterable) or isinstance(outcomes, str | bytes | Mapping):
            raise _not_pairs(name, "nothing" if outcomes is None else kind_of(outcomes))
        return [_sound(name, outcome) for outcome in _called(name, lambda: list(outcomes))]  # perhaps a generator

    def fits(row: Row) -> bool:
        try:
            return bool(_called(name, lambda: layout.fits(row)))
        except BadRow as error:
            raise BadInput(f"rows cannot be recognized: {error}") from error

    return Layout(
        read, frozenset(layout.columns), fits, layout.together, lambda row: _called(name, lambda: layout.check(row))
    )


def _may_be_layout(value: object) -> bool:
    return isinstance(value, Layout) or (callable(value) and not isinstance(value, type))


def _called(name: str, call: Callable[[], Any]) -> Any:
    """What the call returns; whatever it raises is a `BadRow`, unless it is an error of ours about something else.

    The message names the place in the layout's file and not what was raised, which may quote somebody's text.
    """
    try:
        return call()
    except BadRow:
        raise
    except BadInput as error:
        raise BadRow(str(error), rule="refused by the layout") from error
    except PersonalRMError:  # such as an extra that is not installed
        raise
    except Exception as error:  # whatever somebody else's function raises
        ours = Path(__file__).parents[2]
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if ours not in Path(frame.filename).parents
        ]
        where = f" in line {frames[0].lineno} of {Path(frames[0].filename).name}" if frames else ""
        kind = type(error).__name__
        message = f"layout {name!r} raised {kind}{where}; correct it there"
        if isinstance(error, KeyError):  # mostly a column that this row does not have
            key = str(error.args[0]) if error.args else ""
            shown = repr(key) if key and look_like_names([key]) else "a name"
            message = (
                f"layout {name!r} looks up {shown}{where}, which is not there; if it is a column, write its name as "
                "the file has it, or raise BadRow for rows without it"
            )
        raise BadRow(message, rule=f"layout raised {kind}") from error


def _sound(name: str, outcome: object) -> PreferencePair | Dropped:
    """A pair of another package as our own layout would read it, since its fields may hold anything."""
    if isinstance(outcome, Dropped):
        return outcome
    if not isinstance(outcome, PreferencePair):
        raise _not_pairs(name, f"a list with {kind_of(outcome)}")
    row = _called(name, lambda: {**pair_to_dict(outcome), "meta": outcome.meta})
    return read_own(row, ReadOptions())[0]


def _not_pairs(name: str, what: str) -> BadRow:
    return BadRow(
        f"layout {name!r} returned {what}, not a list of PreferencePair; correct it", rule="layout returned no pairs"
    )
