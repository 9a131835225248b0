"""Score completions with a trained reward model, for the user whose choices are given as context.

Reads rows with `user_id`, `conversation` (or `prompt`) and `completions`. The context is a
file of preference pairs; users without any are scored as the average user.
Places in the text count from 1; `order` of --json counts from 0.

Example: personalrm score drafts.jsonl --model-folder models/vpl --context prefs.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from personalrm.cli.flags import positive
from personalrm.cli.options import ROWS, add_output
from personalrm.cli.printing import print_bad_rows, ranked_lines
from personalrm.wording import count

DEVICE = "where encoder or language model run: auto, cpu or cuda (default: as in training, a language model on the CPU)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default="-", help=ROWS)
    parser.add_argument("--model-folder", required=True, metavar="DIR", help="what personalrm train wrote")
    parser.add_argument(
        "--context", metavar="FILE", help="preference pairs of the users; rows declared target are left out"
    )
    parser.add_argument("-u", "--user", help="score for this user, whatever the rows say")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out, count them, exit with 3")
    parser.add_argument(
        "--prompts", metavar="FILE", help="personal prompts, for a language model that was trained with them"
    )
    parser.add_argument("--demonstrations", action="store_true", help="tell the prompts' demonstrations too")
    parser.add_argument("--history", type=positive, metavar="K", help="raw pairs to tell, for a model that was told K")
    parser.add_argument("--device", metavar="WHERE", help=DEVICE)
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.cli.rows import completions_of, conversation_of, read_rows, user_of
    from personalrm.rewards.language.user_turns import turns_told
    from personalrm.rewards.reward_model import ScoreItem
    from personalrm.rewards.trained import open_trained

    def read(row: dict[str, Any]) -> tuple[str, Any, tuple[str, ...]]:
        return user_of(row, options.user), conversation_of(row), tuple(completions_of(row))

    items, bad = read_rows(options.file, read)
    if print_bad_rows(bad, is_skipping=options.skip_bad, undone="nothing was scored"):
        return 2
    turns = turns_told(options.prompts, demonstrations=options.demonstrations, n_shown=options.history)
    model = open_trained(options.model_folder, f"{options.home}/embeddings", turns=turns, device=options.device)
    contexts, n_left_out = _contexts(options.context, skip_bad=options.skip_bad)
    users = list(dict.fromkeys(user for _, (user, _, _) in items))
    states = dict(zip(users, model.condition_many([contexts.get(user, ()) for user in users]), strict=True))
    scored = model.score_many(
        [ScoreItem(states[user], conversation, texts) for _, (user, conversation, texts) in items]
    )
    for (number, (user, _, texts)), rewards in zip(items, scored, strict=True):
        order = sorted(range(len(rewards)), key=lambda place: -rewards[place])
        n_context = len(contexts.get(user, ()))
        if options.json:
            content = {"line": number, "user_id": user, "rewards": rewards.tolist(), "order": order}
            print(json.dumps(content | {"n_context": n_context}, ensure_ascii=False))
        else:
            print(f"{number}  {user}  best first" + ("" if n_context else "  (the average user)"))
            print(*ranked_lines(order, rewards.tolist(), texts), sep="\n")
    if n_bad := len(bad) + n_left_out:
        print(f"{count(n_bad, 'bad row')} left out", file=sys.stderr)
    return 3 if n_bad else 0


def _contexts(path: str | None, *, skip_bad: bool) -> tuple[dict[str, Any], int]:
    """Context pairs of every user of the file, and how many bad rows were left out."""
    if path is None:
        return {}, 0
    from personalrm.preferences.reading.files import Tally, iter_users
    from personalrm.preferences.reading.options import ReadOptions

    tally = Tally()
    users = iter_users(path, ReadOptions(skip_bad=skip_bad), tally=tally)
    found = {user.user_id: [pair for pair in user.pairs if pair.split != "target"] for user in users}
    return found, tally.n_bad_rows
