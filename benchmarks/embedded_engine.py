"""All users of PRISM fitted and judged (MAP, no trials), features included, in CPU seconds; cost a user as users grow.

Needs PERSONALRM_DATA for the first figure. Target: under 2 s of CPU for PRISM; cost a user constant.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from _table import show

WHOLE_JOB = """
import sys, time
from personalrm.preferences.reading import read_pairs
from personalrm.bench.targets import hold_out
from personalrm.bench.evaluation import evaluate
users = read_pairs(sys.argv[1])
evaluation = evaluate(hold_out(users.values()), methods=["population", "personal"])
print(time.process_time(), len(users), users.tally.n_pairs)
"""


def prism() -> dict[str, object]:
    data = os.environ.get("PERSONALRM_DATA")
    if not data:
        return {"PRISM": "not measured, PERSONALRM_DATA is not set"}
    path = Path(data) / "prism_turn0_subset.jsonl.gz"
    runs = [
        subprocess.run(
            [sys.executable, "-c", WHOLE_JOB, str(path)], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(5)
    ]
    cpu = sorted(float(run[0]) for run in runs)
    return {
        "PRISM users": int(runs[0][1]),
        "PRISM pairs": int(runs[0][2]),
        "CPU s, start-up included (median of 5)": cpu[2],
    }


def growth() -> dict[str, object]:
    from personalrm.bench.planted import plant_users
    from personalrm.induction.embedded_fit import EmbeddedFit

    figures: dict[str, object] = {}
    for n_users in (100, 1_000, 10_000):
        users = [one.user for one in plant_users(n_users, 8)]
        engine = EmbeddedFit.learned_from(users)
        started = time.process_time()
        for _ in engine.fit(users):
            pass
        figures[f"fit, ms CPU a user at {n_users} users"] = 1e3 * (time.process_time() - started) / n_users
    return figures


if __name__ == "__main__":
    show("embedded engine", prism() | growth())
