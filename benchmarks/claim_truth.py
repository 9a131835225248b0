"""Whether claims of embedded personas hold on their own user's target pairs more often than on others'.

Claims are made from context pairs alone. On data where the default doubt yields none, the
engine's leading leaning of each user takes their place, and the table says so.

    PERSONALRM_DATA=... python benchmarks/claim_truth.py [--permutations 10000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulations.claim_truth import ClaimTruth, TruthRow, make_claims, measure_truth

from personalrm.bench.runs.evaluation import in_development_half
from personalrm.datasets.targets import hold_out
from personalrm.preferences.reading.files import read_pairs

HEADS = (
    ("claims", 7),
    ("users", 7),
    ("pairs", 8),
    ("own %", 7),
    ("others", 8),
    ("difference", 24),
    ("p", 8),
    ("Holm", 8),
)
FILES = ("prism_turn0_subset.jsonl.gz", "coauthor_choices.jsonl.gz")


def line(row: TruthRow) -> str:
    """One row of the table."""
    adjusted = "" if row.adjusted_p != row.adjusted_p else f"{row.adjusted_p:>8.3f}"
    gap = f"{100 * row.difference:+.1f} [{100 * row.interval.low:+.1f}, {100 * row.interval.high:+.1f}]"
    shares = f"{100 * row.own:>7.1f}{100 * row.others:>8.1f}"
    return f"{row.name:<32}{row.n_claims:>7}{row.n_users:>7}{row.n_pairs:>8}{shares}  {gap:<22}{row.p:>8.4f}{adjusted}"


def show(title: str, truth: ClaimTruth) -> None:
    """All rows, or that there is nothing to show."""
    print(f"\n{title}: {truth.n_users_with_claim} of {truth.n_users} users have a claim")
    if truth.rows:
        print(" " * 32 + "".join(name.rjust(width) for name, width in HEADS))
    for row in truth.rows:
        print(line(row))


def main() -> None:
    """Tables for both files, whole and by halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--permutations", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    folder = os.environ.get("PERSONALRM_DATA")
    if not folder:
        raise SystemExit("PERSONALRM_DATA is not set; it names the folder with the real preferences")
    found: dict[str, Any] = {}
    for name in FILES:
        held_out = hold_out(read_pairs(Path(folder) / name).values())
        for kind, is_leading in (("claims at the default doubt", False), ("leading leaning of each user", True)):
            claims = make_claims(held_out, most_doubt=1.0, leading_only=True) if is_leading else make_claims(held_out)
            for half, keep in (
                ("all users", None),
                ("development half", in_development_half),
                ("test half", lambda user: not in_development_half(user)),
            ):
                truth = measure_truth(held_out, claims, n_permutations=options.permutations, keep=keep)
                title = f"{name.partition('.')[0]}, {kind}, {half}"
                show(title, truth)
                found[title] = asdict(truth)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
