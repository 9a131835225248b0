"""All users of PRISM fitted and judged (MAP, no trials), features included, in CPU seconds; cost a user as users grow.

Needs PERSONALRM_DATA for the first figure. Target: under 2 s of CPU for PRISM; cost a user constant.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from _table import show


def prism() -> dict[str, object]:
    data = os.environ.get("PERSONALRM_DATA")
    if not data:
        return {"PRISM": "not measured, PERSONALRM_DATA is not set"}
    path = Path(data) / "prism_turn0_subset.jsonl.gz"
    command = [sys.executable, "-m", "personalrm", "evaluate", str(path), "--methods", "population,personal", "--json"]
    seconds = []
    for _ in range(5):
        before = children_cpu()
        table = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        seconds.append(children_cpu() - before)
    held_out = table["tables"]["all users"]
    return {
        "PRISM users judged": held_out["n_users"],
        "PRISM target pairs": held_out["n_target_pairs"],
        "CPU s of the command, start-up, reading, features and intervals included (median of 5)": sorted(seconds)[2],
    }


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def growth() -> dict[str, object]:
    from simulations.planted import plant_users

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
