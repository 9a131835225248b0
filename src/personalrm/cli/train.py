"""Train a reward model on preference pairs of many users; a killed training goes on with the same command.

On embeddings: bradley_terry_head, low_rank, mrm, soup, two_level, gpo, vpl, pal. On a causal language model (--base),
with LoRA: bradley_terry, or bt, told of users by --prompts (what prepare-prompts wrote) or --history;
bradley_terry_soup, or bt_soup, one adapter a cluster of users; and vpl, which reads a user's choices as embeddings and
the completions with the language model. Progress is on stderr; --json shows none.

Example: personalrm train vpl prefs.jsonl --out models/vpl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from personalrm.cli.flags import folder, percent_kept_back, positive
from personalrm.cli.options import add_config, add_home, add_json, add_reading, read_options
from personalrm.cli.printing import print_json
from personalrm.cli.training_progress import TrainingProgress
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.preferences.users import User

DEVICE = (
    "where encoder and language model run: auto, cpu or cuda (default: the encoder on the CPU, a language model on a "
    "GPU where there is one)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "method",
        help="bt, bt_soup (language models); bradley_terry_head, low_rank, mrm, soup, two_level, gpo, vpl, pal (heads)",
    )
    parser.add_argument("file", help="file of preference pairs")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder of the trained model")
    parser.add_argument(
        "--encoder",
        metavar="NAME",
        help="what reads the texts: stylometric, or a Hugging Face model by name or folder (default: stylometric)",
    )
    parser.add_argument(
        "--base",
        metavar="NAME",
        help="language model that bt, bt_soup or vpl's decoder trains with LoRA; name or folder",
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
    add_home(parser)
    add_reading(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.rewards.trained import train_to_folder
    from personalrm.rewards.watching import watched
    from personalrm.typed_values import read_yaml

    content = (read_yaml(options.settings, "settings file") or {}) if options.settings else {}
    users, report = _read(options)
    if options.base is not None and options.device is not None:
        from personalrm.rewards.language.placing import train_on

        train_on(options.device)
    with TrainingProgress(options.method, is_silent=options.json) as progress, watched(progress.moved):
        made = _made(options, content, users, progress)
        if options.sweep is not None:
            trained = _sweep(options, users, made, progress)
        else:
            trained = train_to_folder(users, options.out, made, dev_percent=options.dev_percent)
    _tell(trained, report, options)
    return 3 if report.n_bad_rows else 0


def _made(
    options: argparse.Namespace, content: dict[str, Any], users: Sequence[User], progress: TrainingProgress
) -> Any:
    """The untrained model, or how it is made."""
    if options.method in ("bt", "bradley_terry"):
        return _language_model(options, content, users)
    if options.method in ("bt_soup", "bradley_terry_soup"):
        return _soup(options, content)
    return _embedded(options, content, progress)


def _sweep(options: argparse.Namespace, users: Sequence[User], made: Any, progress: TrainingProgress) -> Any:
    """Every combination with a line on stderr; the report of the best."""
    from personalrm.errors import BadInput
    from personalrm.rewards.sweep import Tried, combinations, sweep
    from personalrm.rewards.trained import Embedded
    from personalrm.typed_values import read_yaml

    if not isinstance(made, Embedded) or options.settings or options.faithful:
        raise BadInput(
            "--sweep goes with methods on embeddings, without --settings and --faithful; put all into its file"
        )
    settings = combinations(read_yaml(options.sweep, "sweep file") or {}, where=options.sweep)
    for told in sweep(users, options.out, made, settings, dev_percent=options.dev_percent):
        if not isinstance(told, Tried):
            return told
        progress.clear()
        print(f"  loss {told.loss:.4f}, accuracy {100 * told.accuracy:.1f} %  {dict(told.settings)}", file=sys.stderr)
    raise AssertionError("a sweep ends with a report")


def _embedded(options: argparse.Namespace, content: dict[str, Any], progress: TrainingProgress) -> Any:
    from personalrm.errors import BadInput
    from personalrm.rewards.encoder_spec import STYLOMETRIC, EncoderSpec
    from personalrm.rewards.methods import method_over, reward_method
    from personalrm.rewards.trained import Embedded

    method = method_over(options.method, options.base)
    if options.prompts is not None or options.history is not None or options.demonstrations:
        raise BadInput(
            f"--prompts, --demonstrations and --history tell bt of users; {options.method} reads their choices itself"
        )
    where = options.settings or options.method
    chosen = reward_method(method).options(content, where=where, faithful=options.faithful)
    encoder = EncoderSpec(options.encoder or STYLOMETRIC)
    if options.device is not None:
        encoder = encoder.on(options.device)
    return Embedded(method, encoder, f"{options.home}/embeddings", chosen, base=options.base, watch=progress.embedded)


def _language_model(options: argparse.Namespace, content: dict[str, Any], users: Sequence[User]) -> Any:
    from pathlib import Path

    from personalrm.errors import BadInput
    from personalrm.rewards.language.bradley_terry.model import BradleyTerry
    from personalrm.rewards.language.bradley_terry.training import BradleyTerryOptions
    from personalrm.rewards.language.user_turns import RawHistory
    from personalrm.rewards.trained import CHECKPOINT
    from personalrm.typed_values import spec_from

    _refuse_unused(options)
    chosen = spec_from(BradleyTerryOptions, content, options.settings or "bt")
    if options.demonstrations and options.prompts is None:
        raise BadInput("--demonstrations are those of a file of prompts and none was named; pass --prompts too")
    turns: Any = user_turns(options.prompts, demonstrations=options.demonstrations)
    if options.history is not None:
        if turns is not None:
            raise BadInput("--prompts and --history both say what to tell of users; pass one of them")
        turns = RawHistory([pair for user in users for pair in user.pairs if pair.split != "target"], k=options.history)
    return BradleyTerry(options.base, chosen, turns=turns, checkpoint=Path(options.out) / CHECKPOINT)


def _soup(options: argparse.Namespace, content: dict[str, Any]) -> Any:
    from pathlib import Path

    from personalrm.errors import BadInput
    from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup, BradleyTerrySoupOptions
    from personalrm.rewards.trained import CHECKPOINT
    from personalrm.typed_values import spec_from

    _refuse_unused(options)
    if options.prompts or options.history or options.demonstrations:
        raise BadInput("bt_soup tells the model nothing of users in words; leave --prompts and --history out")
    chosen = spec_from(BradleyTerrySoupOptions, content, options.settings or "bt_soup")
    return BradleyTerrySoup(options.base, chosen, checkpoint=Path(options.out) / CHECKPOINT)


def _refuse_unused(options: argparse.Namespace) -> None:
    """Refuse a language model without its base, and what it has no use for."""
    from personalrm.errors import BadInput

    method = options.method
    if options.base is None:
        raise BadInput(f"{method} trains a language model and none was named; pass --base with a name or folder")
    if options.encoder is not None:
        raise BadInput(f"{method} reads texts with its base model itself; leave --encoder {options.encoder!r} out")
    if options.faithful:
        raise BadInput(f"{method} has no published settings apart from its defaults; leave --faithful out")


def user_turns(prompts: str | None, *, demonstrations: bool) -> Any:
    """What a language model is told of users, from a file of prepared prompts; None without one."""
    if prompts is None:
        return None
    from personalrm.preferences.prepared_prompts import read_prepared
    from personalrm.rewards.language.user_turns import SavedPrompts

    return SavedPrompts(read_prepared(prompts), "persona_demonstrations" if demonstrations else "persona")


def _read(options: argparse.Namespace) -> tuple[list[Any], Any]:
    from personalrm.preferences.reading.files import Tally, iter_users

    tally = Tally()
    return list(iter_users(options.file, read_options(options), tally=tally)), tally


def _tell(trained: Any, report: Any, options: argparse.Namespace) -> None:
    if options.json:
        print_json(asdict(trained) | {"n_bad_rows": report.n_bad_rows})
        return
    left_out = f", {trained.n_targets:,} targets left out" if trained.n_targets else ""
    print(
        f"{options.method} learned from {count(trained.n_pairs, 'pair')} of {count(trained.n_users, 'user')}{left_out}"
    )
    if trained.dev_accuracy is not None:
        print(f"on {trained.n_dev_targets:,} held-out pairs of {trained.n_dev_users:,} other users: {trained.dev}")
    else:
        print("no user was held out, so nothing is known of how it does on others; add users or raise --dev-percent")
    if trained.controls:
        print(f"over these users, {trained.controls}")
    print(f"saved in {options.out}")
    print(f"next: personalrm score DRAFTS.jsonl --model-folder {options.out} --context {options.file}")
    if report.n_bad_rows:
        print(f"{count(report.n_bad_rows, 'bad row')} left out; personalrm validate lists them", file=sys.stderr)
