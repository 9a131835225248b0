"""Which pairs to show a user next: those whose answers would tell most about their taste.

Reads candidates as JSON lines with `conversation` (or `prompt`) and `first` and `second`,
`chosen` and `rejected`, or `completions`, of which every two are a candidate. Without a model
the expected information on the user's weights decides; with --model, how unsure the model is.

Example: personalrm ask u17 --candidates new.jsonl --number 5
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import positive
from personalrm.cli.model_options import add_model, optional_judge
from personalrm.cli.options import add_config, add_home, add_json, add_skip_bad
from personalrm.cli.printing import print_error, print_json, print_wrapped, shortened
from personalrm.errors import BadInput, BadRow

if TYPE_CHECKING:
    from personalrm.judging.asking import Candidate, NextQuestion
    from personalrm.judging.model import ModelJudge
    from personalrm.preferences.pairs import PreferencePair

EXCERPT = 88


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    parser.add_argument(
        "--candidates", metavar="FILE", default="-", help="JSONL file, or - for standard input (the default)"
    )
    parser.add_argument(
        "-n", "--number", type=positive, default=1, metavar="N", help="how many to choose (default: %(default)s)"
    )
    parser.add_argument(
        "--seen", metavar="FILE", help="the preferences the user was fitted on; makes the expected information exact"
    )
    parser.add_argument(
        "--personalizable",
        action="store_true",
        help="leave out requests that leave no room for taste; the model says which (needs --model)",
    )
    add_skip_bad(parser)
    add_home(parser)
    add_model(parser)
    add_config(parser)
    add_json(parser)


@dataclass(frozen=True, repr=False)
class _Row:
    """A candidate and the line it came from."""

    line: int
    candidate: Candidate


def run(options: argparse.Namespace) -> int:
    from personalrm.judging.asking import next_questions
    from personalrm.store.home import Home

    if options.personalizable and options.model is None:
        raise BadInput("--personalizable needs a model to say whether taste can decide; pass --model")
    prompt = Home(options.home).load(options.user)
    rows, bad = _read(options.candidates)
    for error in bad:
        print_error(error, 2)
    if bad and not options.skip_bad:
        print_error(f"{len(bad)} of the candidates cannot be read; fix them or pass --skip-bad", 2)
        return 2
    seen = _seen(options)
    with optional_judge(options) as judge:
        kept = _personalizable(rows, judge, options) if options.personalizable and judge else rows
        found = next_questions(prompt, [one.candidate for one in kept], n=options.number, judge=judge, seen=seen)
    _tell(options, kept, found, n_left_out=len(rows) - len(kept))
    return 3 if bad else 0


def _read(path: str) -> tuple[list[_Row], list[str]]:
    """The candidates of a file, and a sentence for each bad row."""
    from personalrm.cli.rows import rows_of

    rows: list[_Row] = []
    bad: list[str] = []
    for number, row in rows_of(path):
        try:
            if isinstance(row, BadRow):
                raise row
            rows += [_Row(number, candidate) for candidate in _candidates(row)]
        except (BadRow, BadInput) as error:
            bad.append(f"{path}, line {number}: {error}")
    return rows, bad


def _candidates(row: dict[str, Any]) -> list[Candidate]:
    """The candidate pairs of a row, every two of its completions."""
    from itertools import combinations

    from personalrm.cli.rows import completions_of, conversation_of, pair_of
    from personalrm.judging.asking import Candidate
    from personalrm.preferences.reading.fields import read_text

    if row.get("chosen") is not None:
        pair = pair_of(row, "anybody")
        return [Candidate(pair.conversation, pair.chosen, pair.rejected)]
    conversation = conversation_of(row)
    if row.get("completions") is None:
        texts = [read_text(row.get(name), name) for name in ("first", "second")]
    else:
        texts = list(dict.fromkeys(completions_of(row)))
        if len(texts) < 2:
            raise BadRow("the row has one completion; a question needs two that differ", field="completions")
    return [Candidate(conversation, first, second) for first, second in combinations(texts, 2)]


def _seen(options: argparse.Namespace) -> Sequence[PreferencePair]:
    """The user's pairs in the file of `--seen`; none without it."""
    if options.seen is None:
        return ()
    from personalrm.preferences.reading.files import read_pairs

    users = read_pairs(options.seen)
    if options.user not in users:
        raise BadInput(f"user {options.user!r} has no pair in {options.seen!r}; pass the file they were fitted on")
    return tuple(users[options.user].pairs)


def _personalizable(rows: Sequence[_Row], judge: ModelJudge, options: argparse.Namespace) -> list[_Row]:
    """The rows whose request leaves room for taste; what the model did not answer stays."""
    from personalrm.datasets.personalizable import PersonalizableFilter

    outcomes = PersonalizableFilter(judge.caller).ask_queries(
        [(options.user, row.candidate.conversation) for row in rows]
    )
    return [row for row, outcome in zip(rows, outcomes, strict=True) if outcome.value is not False]


def _tell(options: argparse.Namespace, rows: Sequence[_Row], found: Sequence[NextQuestion], *, n_left_out: int) -> None:
    if options.json:
        questions = [_as_json(rows[one.place], one) for one in found]
        print_json({"user_id": options.user, "questions": questions, "not_personalizable": n_left_out})
        return
    for number, one in enumerate(found, 1):
        row = rows[one.place]
        asked = shortened(row.candidate.conversation[-1].content, EXCERPT)
        print(f"{number}  line {row.line}  {one.bits:.2f} bits  {one.reason}")
        print_wrapped(f"asked:  {asked}", "   ")
        print_wrapped(f"first:  {shortened(row.candidate.first, EXCERPT)}", "   ")
        print_wrapped(f"second: {shortened(row.candidate.second, EXCERPT)}", "   ")
    if not found:
        print("nothing to ask: every candidate was answered before or left out")
    if n_left_out:
        print(f"{n_left_out} left out, no room for taste", file=sys.stderr)
    if options.model is None and options.seen is None:
        print("doubts about weights taken as independent; --seen FILE makes them exact", file=sys.stderr)


def _as_json(row: _Row, one: NextQuestion) -> dict[str, Any]:
    return {
        "line": row.line,
        "first": row.candidate.first,
        "second": row.candidate.second,
        "bits": round(one.bits, 6),
        "probability": None if one.chance is None else round(one.chance, 6),
        "reason": one.reason,
    }
