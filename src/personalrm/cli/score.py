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
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import positive
from personalrm.cli.options import ROWS, add_output, add_skip_bad
from personalrm.cli.printing import print_bad_rows, ranked_lines
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.messages import Conversation
    from personalrm.preferences.pairs import PreferencePair

DEVICE = "where encoder or language model run: auto, cpu or cuda (default: as in training, a language model on the CPU)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default="-", help=ROWS)
    parser.add_argument("--model-folder", required=True, metavar="DIR", help="what personalrm train wrote")
    parser.add_argument(
        "--context", metavar="FILE", help="preference pairs of the users; rows declared target are left out"
    )
    parser.add_argument("-u", "--user", help="score for this user, whatever the rows say")
    add_skip_bad(parser)
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

    def read(row: dict[str, Any]) -> tuple[str, Conversation, tuple[str, ...]]:
        """Who is asked, about what, and the completions."""
        return user_of(row, options.user), conversation_of(row), tuple(completions_of(row))

    items, bad = read_rows(options.file, read)
    if print_bad_rows(bad, is_skipping=options.skip_bad, undone="nothing was scored"):
        return 2
    turns = turns_told(options.prompts, demonstrations=options.demonstrations, n_shown=options.history)
    model = open_trained(options.model_folder, f"{options.home}/embeddings", turns=turns, device=options.device)
    contexts, n_bad_pairs = _contexts(options.context, skip_bad=options.skip_bad)
    users = list(dict.fromkeys(user for _, (user, _, _) in items))
    states = dict(zip(users, model.condition_many([contexts.get(user, ()) for user in users]), strict=True))
    all_rewards = model.score_many(
        [ScoreItem(states[user], conversation, completions) for _, (user, conversation, completions) in items]
    )
    for (line, (user, _, completions)), rewards in zip(items, all_rewards, strict=True):
        order = sorted(range(len(rewards)), key=lambda place: -rewards[place])
        n_context = len(contexts.get(user, ()))
        if options.json:
            content = {
                "line": line,
                "user_id": user,
                "rewards": rewards.tolist(),
                "order": order,
                "n_context": n_context,
            }
            print(json.dumps(content, ensure_ascii=False))
        else:
            print(f"{line}  {user}  best first" + ("" if n_context else "  (the average user)"))
            print(*ranked_lines(order, rewards.tolist(), completions), sep="\n")
    if n_bad := len(bad) + n_bad_pairs:
        print(f"{count(n_bad, 'bad row')} left out", file=sys.stderr)
    return 3 if n_bad else 0


def _contexts(path: str | None, *, skip_bad: bool) -> tuple[dict[str, tuple[PreferencePair, ...]], int]:
    """Context pairs of every user of the file, and how many bad rows were left out."""
    if path is None:
        return {}, 0
    from personalrm.preferences.reading.files import Tally, iter_users
    from personalrm.preferences.reading.options import ReadOptions

    tally = Tally()
    users = iter_users(path, ReadOptions(skip_bad=skip_bad), tally=tally)
    return {user.user_id: user.context_pairs for user in users}, tally.n_bad_rows
