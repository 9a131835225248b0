"""Train a reward model on preference pairs of many users: low-rank bases, MRM, soups, GPO, VPL, PAL; resumable.

Example: personalrm train vpl prefs.jsonl --out models/vpl
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Any

from personalrm.cli.options import add_config, add_home, add_json, add_reading, folder, non_negative, read_options
from personalrm.cli.printing import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", help="bradley_terry_head, low_rank, mrm, soup, gpo, vpl or pal")
    parser.add_argument("file", help="file of preference pairs")
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder of the trained model")
    parser.add_argument(
        "--encoder",
        default="stylometric",
        metavar="NAME",
        help="what reads the texts: stylometric, or a Hugging Face model by name or folder (default: %(default)s)",
    )
    parser.add_argument("--device", default="cpu", help="device of the encoder (default: %(default)s)")
    parser.add_argument("-c", "--settings", metavar="YAML", help="settings of the method; docs/rewards.md lists them")
    parser.add_argument("--faithful", action="store_true", help="start from the published settings instead of ours")
    parser.add_argument(
        "--dev-percent", type=non_negative, default=10, metavar="P", help="users that stop training (default: 10)"
    )
    add_home(parser)
    add_reading(parser)
    add_config(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    from personalrm.rewards.encoder_spec import EncoderSpec
    from personalrm.rewards.methods import reward_method
    from personalrm.rewards.trained import train_to_folder
    from personalrm.running.typed_values import read_yaml

    content = read_yaml(options.settings, "settings file") or {} if options.settings else {}
    where = options.settings or options.method
    chosen = reward_method(options.method).options(content, where=where, faithful=options.faithful)
    users, report = _read(options)
    trained = train_to_folder(
        options.method,
        users,
        options.out,
        options=chosen,
        encoder=EncoderSpec(options.encoder, device=options.device),
        store_folder=f"{options.home}/embeddings",
        dev_percent=options.dev_percent,
    )
    _tell(trained, report, options)
    return 3 if report.n_bad_rows else 0


def _read(options: argparse.Namespace) -> tuple[list[Any], Any]:
    from personalrm.preferences.reading import Tally, iter_users

    tally = Tally()
    return list(iter_users(options.file, read_options(options), tally=tally)), tally


def _tell(trained: Any, report: Any, options: argparse.Namespace) -> None:
    if options.json:
        print_json(asdict(trained) | {"n_bad_rows": report.n_bad_rows})
        return
    left_out = f", {trained.n_targets:,} targets left out" if trained.n_targets else ""
    print(f"{options.method} learned from {trained.n_pairs:,} pairs of {trained.n_users:,} users{left_out}")
    if trained.dev_accuracy is not None:
        print(f"on {trained.n_dev_targets:,} held-out pairs of {trained.n_dev_users:,} other users: {trained.dev}")
    print(f"saved in {options.out}")
    print(f"next: personalrm score DRAFTS.jsonl --model-folder {options.out} --context {options.file}")
    if report.n_bad_rows:
        print(f"{report.n_bad_rows:,} bad rows were left out; personalrm validate lists them", file=sys.stderr)
