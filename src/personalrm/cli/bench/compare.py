"""Hold two runs against each other, cell by cell on the pairs both judged, by paired tests.

Example: personalrm bench compare personalrm-home/runs/before personalrm-home/runs/after
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="A", help="a run folder")
    parser.add_argument("after", metavar="B", help="another one with cells of the same datasets, methods and models")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.bench.results.folder import RunFolder
    from personalrm.bench.results.paired import compare_runs
    from personalrm.stats.accuracy import percent
    from personalrm.stats.paired import points

    comparisons = compare_runs(RunFolder(options.before), RunFolder(options.after))
    if options.json:
        print_json([asdict(pair) for pair in comparisons])
        return 0
    rows = []
    for pair in comparisons:
        cell, c = pair.cell, pair.comparison
        words = [cell.dataset, cell.method, cell.model, cell.teacher and f"by {cell.teacher}", cell.control]
        words.append(f"k={cell.k}" if cell.k is not None else None)
        gap = f"{points(c.difference)} [{points(c.low)}, {points(c.high)}]" if c.n_users > 1 else points(c.difference)
        numbers = (percent(pair.accuracy_a), percent(pair.accuracy_b), gap, f"{c.p:.3g}", f"{pair.p_holm:.3g}")
        rows.append((" ".join(filter(None, words)), *numbers, str(c.n_users), str(c.n_pairs)))
    print_table(("cell", "A %", "B %", "B - A, 95 % interval", "p", "p Holm", "users", "pairs"), rows)
    print("intervals and tests are over users; p by sign flips, Holm over this table")
    return 0
