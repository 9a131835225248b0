"""100,000 simulated users streamed from a file and fitted: peak memory beside that of 10,000 users.

Target: flat memory. The file is written to a temporary folder first.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from _table import show

N_PAIRS = 5
JOB = """
import resource, sys, time
from personalrm import fit_users
n = sum(1 for _ in fit_users(sys.argv[1]))
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time())
"""


def write(path: Path, n_users: int) -> None:
    """Rows in random order, so that users have to be grouped."""
    rng = random.Random(0)
    owners = [number for number in range(n_users) for _ in range(N_PAIRS)]
    rng.shuffle(owners)
    words = "tea bread lake train garden letter music winter bicycle market".split()
    with path.open("w", encoding="utf-8") as file:
        for row, owner in enumerate(owners):
            texts = [" ".join(rng.choices(words, k=rng.randint(5, 25))).capitalize() + "." for _ in range(2)]
            chosen, rejected = sorted(texts, key=len, reverse=owner % 2 == 0)
            if chosen != rejected:
                file.write(
                    json.dumps({"user_id": f"u{owner}", "prompt": f"Q{row}?", "chosen": chosen, "rejected": rejected})
                    + "\n"
                )


def measure(n_users: int) -> tuple[int, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prefs.jsonl"
        write(path, n_users)
        out = subprocess.run(
            [sys.executable, "-c", JOB, str(path)], capture_output=True, text=True, check=True
        ).stdout.split()
    return int(out[0]), float(out[1]), float(out[2])


if __name__ == "__main__":
    few, many = measure(10_000), measure(100_000)
    show(
        "streaming users",
        {
            "users": many[0],
            "peak MB at 10,000 users": few[1],
            "peak MB at 100,000 users": many[1],
            "ratio": many[1] / few[1],
            "ms CPU a user at 10,000": 1e3 * few[2] / few[0],
            "ms CPU a user at 100,000": 1e3 * many[2] / many[0],
        },
    )
