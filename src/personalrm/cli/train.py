"""Train a reward model on preference pairs of many users; a killed training goes on with the same command.

Heads on embeddings, such as low_rank, gpo or vpl, and causal language models (--base) with LoRA, such as bt, which
--prompts (what prepare-prompts wrote) or --history tell of users; with --base, vpl reads completions with the language
model. docs/reward-models.md describes them all. A class of your own is named package.module:Class. Progress is on
stderr; --json shows none.

Example: personalrm train vpl prefs.jsonl --out models/vpl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import folder, percent_kept_back, positive
from personalrm.cli.options import add_output, add_reading, read_options
from personalrm.cli.printing import print_json
from personalrm.cli.training_progress import TrainingProgress
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.users import User
    from personalrm.rewards.encoder_spec import EncoderSpec
    from personalrm.rewards.language.user_turns import Knows, UserTurns
    from personalrm.rewards.methods import Recipe
    from personalrm.rewards.trained import TrainingReport

DEVICE = (
    "where encoder and language model run: auto, cpu or cuda (default: the encoder on the CPU, a language model on a "
    "GPU where there is one)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "method",
        help="a reward model, such as low_rank or bt, or package.module:Class; a name there is none of lists them",
    )
    parser.add_argument("file", help="file of preference pairs")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder of the trained model")
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="what reads the texts: stylometric, or a language model or sentence encoder by its name on the hub, as a "
        "folder or a GGUF file (default: stylometric)",
    )
    parser.add_argument(
        "--layer", type=int, metavar="N", help="hidden layer of the encoder, from 0; -1 is the last (default)"
    )
    parser.add_argument(
        "--base",
        metavar="NAME",
        help="language model that is trained with LoRA; name on the hub, folder or GGUF file",
    )
    parser.add_argument("--prompts", metavar="FILE", help="personal prompts that bt is told, from prepare-prompts")
    parser.add_argument("--demonstrations", action="store_true", help="tell the prompts' demonstrations too")
    parser.add_argument("--history", type=positive, metavar="K", help="tell bt K raw pairs of the user instead")
    parser.add_argument("--device", metavar="WHERE", help=DEVICE)
    parser.add_argument(
        "-c", "--settings", metavar="YAML", help="settings of the method; docs/reward-models.md lists them"
    )
    parser.add_argument(
        "--sweep", metavar="YAML", help="lists of settings to try in one process; the dev users choose what is saved"
    )
    parser.add_argument("--faithful", action="store_true", help="start from the published settings instead of ours")
    parser.add_argument(
        "--dev-percent", type=percent_kept_back, default=10, metavar="P", help="users that stop training (default: 10)"
    )
    add_output(parser)
    add_reading(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.preferences.reading.files import Tally, iter_users
    from personalrm.rewards.trained import train_to_folder
    from personalrm.rewards.watching import watched
    from personalrm.typed_values import read_yaml

    content = read_yaml(options.settings, "settings file") if options.settings else {}
    content = {} if content is None else content  # an empty file; what holds something else is refused by the method
    tally = Tally()
    users = list(iter_users(options.file, read_options(options), tally=tally))
    with TrainingProgress(options.method, is_silent=options.json) as progress, watched(progress.moved):
        recipe, encoder, turns = _recipe(options, content, users, progress)
        if options.sweep is not None:
            trained = _sweep(options, users, recipe, encoder, progress)
        else:
            trained = train_to_folder(
                users, options.out, recipe, encoder=encoder, turns=turns, dev_percent=options.dev_percent
            )
    _print(trained, tally.n_bad_rows, options)
    return 3 if tally.n_bad_rows else 0


def _recipe(
    options: argparse.Namespace, content: dict[str, Any], users: Sequence[User], progress: TrainingProgress
) -> tuple[Recipe, EncoderSpec | None, UserTurns | None]:
    """What is to be trained, what reads texts for it, and what it is told of users in words."""
    from functools import partial

    from personalrm.errors import BadInput
    from personalrm.preferences.prepared_prompts import PreparedPrompts
    from personalrm.rewards.encoder_spec import STYLOMETRIC, EncoderSpec
    from personalrm.rewards.language.user_turns import turns_told
    from personalrm.rewards.methods import Recipe, method_meant
    from personalrm.rewards.trained import learnable, open_store

    pairs = learnable(users)
    knows: Knows = "persona_demonstrations" if options.demonstrations else "persona" if options.prompts else "nothing"
    method = method_meant(options.method, base=options.base, knows="history" if options.history else knows)
    turns = turns_told(options.prompts, demonstrations=options.demonstrations, n_shown=options.history, pairs=pairs)
    if options.encoder is not None and "store" not in method.made_of:
        raise BadInput(
            f"{options.method} reads texts with its base model itself; leave --encoder {options.encoder!r} out"
        )
    if options.faithful and not method.has_published:
        raise BadInput(f"{options.method} has no published settings apart from its defaults; leave --faithful out")
    if turns is None and method.needs_prompts:
        raise BadInput(f"{options.method} tells a language model personas; pass --prompts with a file of them")
    where = options.settings or options.method
    chosen = method.options(content, where=where, faithful=options.faithful)
    if turns is None and method.knows == "history":
        turns = method.turns(PreparedPrompts(), pairs, k=method.n_shown(content, where), seed=0)
    encoder = EncoderSpec(options.encoder or STYLOMETRIC, layer=options.layer)
    if options.layer is not None and encoder.name == STYLOMETRIC:
        raise BadInput("--layer is of a model that reads the texts; name one with --encoder or leave --layer out")
    if options.device is not None:
        encoder = encoder.on(options.device)
    store = partial(open_store, f"{options.home}/embeddings", encoder, watch=progress.embedded)
    device = options.device if method.trains_language_model else None
    recipe = Recipe(method, chosen, store, options.base, device)
    return recipe, encoder if "store" in method.made_of else None, turns


def _sweep(
    options: argparse.Namespace,
    users: Sequence[User],
    recipe: Recipe,
    encoder: EncoderSpec | None,
    progress: TrainingProgress,
) -> TrainingReport:
    """Every combination with a line on stderr; the report of the best."""
    from personalrm.errors import BadInput
    from personalrm.rewards.trained import Tried, combinations, sweep
    from personalrm.typed_values import read_yaml

    if encoder is None or options.settings or options.faithful:
        raise BadInput(
            "--sweep goes with methods on embeddings, without --settings and --faithful; put all into its file"
        )
    settings = combinations(read_yaml(options.sweep, "sweep file"), where=options.sweep)
    for result in sweep(users, options.out, recipe, settings, encoder=encoder, dev_percent=options.dev_percent):
        if not isinstance(result, Tried):
            return result
        progress.clear()
        accuracy = f"{100 * result.accuracy:.1f} %"
        print(f"  loss {result.loss:.4f}, accuracy {accuracy}  {dict(result.settings)}", file=sys.stderr)
    raise AssertionError("a sweep ends with a report")


def _print(trained: TrainingReport, n_bad_rows: int, options: argparse.Namespace) -> None:
    if options.json:
        print_json(asdict(trained) | {"n_bad_rows": n_bad_rows})
        return
    left_out = f", {trained.n_targets:,} targets left out" if trained.n_targets else ""
    print(
        f"{options.method} learned from {count(trained.n_pairs, 'pair')} of {count(trained.n_users, 'user')}{left_out}"
    )
    if trained.n_identical:
        print(f"{count(trained.n_identical, 'pair')} left out: as the model reads them, both completions are the same")
    if trained.dev_accuracy is not None:
        print(f"on {trained.n_dev_targets:,} held-out pairs of {trained.n_dev_users:,} other users: {trained.dev}")
    else:
        print("no user was held out, so nothing is known of how it does on others; add users or raise --dev-percent")
    if trained.controls:
        print(f"over these users, {trained.controls}")
    print(f"saved in {options.out}")
    print(f"next: personalrm score DRAFTS.jsonl --model-folder {options.out} --context {options.file}")
    if n_bad_rows:
        print(f"{count(n_bad_rows, 'bad row')} left out; personalrm validate lists them", file=sys.stderr)
