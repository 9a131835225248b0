"""Whole fits beside the published package (synthesizeme 0.0.11a1 on dspy 2.6.24), same users, same fake server.

The package is installed into build/peers/package (once) and runs unmodified at its defaults, users one after the other,
which is all it offers; ours overlaps them, 256 requests in flight. The server runs in a process of its own, answers
both layouts by one rule, and counts. Printed for each number of users and latency: requests, identical ones among
them, sequential depth of one fit, wall, client CPU a request, peak memory, import time, accuracy on six held-out pairs
a user in both orders. Every count of ours is checked against the bound of `peers/people.py: most_calls`.

`--quick`: one user and three, at 50 ms. `--rule leaning` takes another judge, see peers/server.py. Pieces:
`--users 12 --latencies 1000 --sides ours`. What takes the package more than five minutes is left out: 100 users at
200 and at 1,000 ms.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _table import show
from peers.environments import python_of
from peers.people import most_calls, people
from peers.server import running

from personalrm.stats.accuracy import pairwise_accuracy

HERE = Path(__file__).parent
SIDES = ("package", "package without its cache", "ours")
TOO_LONG = {("package", 100, 200), ("package", 100, 1000)}


def fit(side: str, users: list[dict[str, Any]], latency_ms: int, rule: str) -> dict[str, Any]:
    """What one side reports of a run in a fresh process, and the server's counts of it."""
    with tempfile.TemporaryDirectory() as folder, running(rule, latency_ms) as url:
        given, result = Path(folder) / "users.json", Path(folder) / "result.json"
        given.write_text(json.dumps(users))
        program = {
            "ours": [sys.executable, "-m", "peers.fit_ours"],
            "package": [python_of("package"), "peers/fit_package.py"],
        }
        command = [*program[side.partition(" ")[0]], url, str(given), str(result)]
        command += ["no-cache"] if side.endswith("without its cache") else []
        done = subprocess.run(command, cwd=HERE, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the {side} side failed: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(result.read_text())
        return found


def check(users: list[dict[str, Any]], found: dict[str, Any]) -> None:
    """Our promises: nobody fails, nothing is asked twice, never more than `most_calls`."""
    server = found["server"]
    assert not found["failed"], found["failed"]
    assert server["duplicates"] == 0, server
    assert server["calls"] <= sum(map(most_calls, users)), server


def figures(side: str, users: list[dict[str, Any]], found: dict[str, Any]) -> dict[str, object]:
    server, n = found["server"], len(users)
    rows: dict[str, object] = {
        "requests a user": server["requests"] / n,
        "identical requests": f"{server['duplicates'] / server['requests']:.0%}",
    }
    if side != "ours" or n == 1:  # where users overlap, one user's depth cannot be told from the others'
        rows["rounds one after the other, a user"] = server["waves"] / n
    rows |= {
        "wall s": found["wall_s"],
        "wall s a user": found["wall_s"] / n,
        "ms client CPU a request": 1000 * found["cpu_s"] / server["requests"],
        "peak MB": found["peak_mb"],
        "import s": found["import_s"],
        "users without demonstrations": sum(not kept for kept in found["kept"].values()),
        "users failed": len(found["failed"]),
    }
    return rows | ({"accuracy": accuracy(found["right"])} if n > 1 else {})


def accuracy(right: dict[str, list[int]]) -> str:
    margins, owners = [], []
    for user_id, listed in right.items():
        half = len(listed) // 2
        margins += [a + b - 1.0 for a, b in zip(listed[:half], listed[half:], strict=True)]
        owners += [user_id] * half
    return pairwise_accuracy(np.array(margins), owners).line()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one user and three, at 50 ms")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 12, 100])
    parser.add_argument("--latencies", type=int, nargs="+", default=[50, 200, 1000], help="milliseconds a call")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=["package", "ours"])
    parser.add_argument("--rule", choices=("skilled", "leaning"), default="skilled", help="the server's judge")
    options = parser.parse_args()
    numbers, latencies = ([1, 3], [50]) if options.quick else (options.users, options.latencies)
    for n_users in numbers:
        users = people(n_users)
        for latency_ms in latencies:
            for side in options.sides:
                if (side, n_users, latency_ms) in TOO_LONG:
                    print(f"left out: the package with {n_users} users at {latency_ms} ms takes many minutes")
                    continue
                found = fit(side, users, latency_ms, options.rule)
                if side == "ours":
                    check(users, found)
                show(f"{side}, {n_users} users, {latency_ms} ms, {options.rule} judge", figures(side, users, found))


if __name__ == "__main__":
    main()
