"""Which pairs to show a user next: those whose answers would tell most about their taste.

Reads candidates as JSON lines with `conversation` (or `prompt`) and `first` and `second`,
`chosen` and `rejected`, or `completions`, of which every two are a candidate. Without a model
the expected information on the user's weights decides; with --model, how unsure the model is.

Example: personalrm ask u17 --candidates new.jsonl --number 5
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import positive
from personalrm.cli.model_options import add_model, optional_judge
from personalrm.cli.options import add_output, add_skip_bad
from personalrm.cli.printing import print_bad_rows, print_json, print_wrapped, shortened
from personalrm.errors import BadInput, BadRow

if TYPE_CHECKING:
    from personalrm.judging.asking import Candidate
    from personalrm.preferences.pairs import PreferencePair

EXCERPT = 88
"""Characters of a text that are shown: a line of most terminals, with its label."""


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
    add_model(parser)
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.cli.rows import read_rows
    from personalrm.datasets.personalizable import PersonalizableFilter
    from personalrm.judging.asking import next_questions
    from personalrm.preferences.reading.files import read_pairs
    from personalrm.store.reading import PeopleReader

    if options.personalizable and options.model is None:
        raise BadInput("--personalizable needs a model to say whether taste can decide; pass --model")
    prompt = PeopleReader(options.home, options.database).load(options.user)
    offers, bad = read_rows(options.candidates, _candidates)
    if print_bad_rows(bad, is_skipping=options.skip_bad, undone="nothing was chosen"):
        return 2
    seen: tuple[PreferencePair, ...] = ()
    if options.seen is not None:
        users = read_pairs(options.seen)
        if options.user not in users:
            raise BadInput(f"user {options.user!r} has no pair in {options.seen!r}; pass the file they were fitted on")
        seen = tuple(users[options.user].pairs)
    candidates = kept = [(line, candidate) for line, offered in offers for candidate in offered]
    with optional_judge(options) as judge:
        if options.personalizable and judge is not None:
            requests = [(options.user, candidate.conversation) for _, candidate in candidates]
            outcomes = PersonalizableFilter(judge.caller).ask_queries(requests)
            # A request stays where the model did not say: what was not measured is not a no.
            kept = [numbered for numbered, said in zip(candidates, outcomes, strict=True) if said.value is not False]
        questions = next_questions(
            prompt, [candidate for _, candidate in kept], n=options.number, judge=judge, seen=seen
        )
    chosen = [(question, *kept[question.place]) for question in questions]
    n_left_out = len(candidates) - len(kept)
    if options.json:
        content = [
            {
                "line": line,
                "first": candidate.first,
                "second": candidate.second,
                "bits": round(question.bits, 6),
                "probability": None if question.chance is None else round(question.chance, 6),
                "reason": question.reason,
            }
            for question, line, candidate in chosen
        ]
        print_json({"user_id": options.user, "questions": content, "not_personalizable": n_left_out})
        return 3 if bad else 0
    for number, (question, line, candidate) in enumerate(chosen, 1):
        print(f"{number}  line {line}  {question.bits:.2f} bits  {question.reason}")
        print_wrapped(f"asked:  {shortened(candidate.conversation[-1].content, EXCERPT)}", "   ")
        print_wrapped(f"first:  {shortened(candidate.first, EXCERPT)}", "   ")
        print_wrapped(f"second: {shortened(candidate.second, EXCERPT)}", "   ")
    if not chosen:
        print("nothing to ask: every candidate was answered before or left out")
    if n_left_out:
        print(f"{n_left_out} left out, no room for taste", file=sys.stderr)
    if options.model is None and options.seen is None:
        print("doubts about weights taken as independent; --seen FILE makes them exact", file=sys.stderr)
    return 3 if bad else 0


def _candidates(row: dict[str, Any]) -> list[Candidate]:
    """What a row offers to ask: its pair, or every two of its completions that differ.

    Raises:
        BadRow: If it offers nothing.
    """
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
