"""Peak memory of `bench build` at 10,000 and at 200,000 raw rows in Arena's layout, with a filter model and a judge.

Target: at most 50 MB more at 200,000 rows. The models are scripts in the same process; answers go to disk.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _table import show

N_BATTLES = 8
JOB = """
import resource, sys, time
from pathlib import Path
from personalrm.datasets.building.build import Build
from personalrm.datasets.building.model_stages import Consensus, Personalizable, open_caller
from personalrm.datasets.building.publishing import run_build
from personalrm.datasets.personalizable import PersonalizableFilter
from personalrm.datasets.sources import open_source
from personalrm.judging.model import ModelJudge
from personalrm.lm.protocol import Reply
from simulations.raw_sources import planted_model

class Script:
    name = "script"
    def __init__(self, identity):
        self.identity = identity
        self.n_calls = 0
    async def complete(self, request, *, seed):
        self.n_calls += 1
        return Reply(planted_model([{"role": turn.role, "content": turn.content} for turn in request.messages]))
    async def close(self):
        pass

raw, out = Path(sys.argv[1]), Path(sys.argv[2])
lms = Script("filter"), Script("judge")
with open_caller(lms[0], out / ".work") as asked, open_caller(lms[1], out / ".work") as judge:
    build = Build(out, open_source(raw), personalizable=Personalizable(PersonalizableFilter(asked)),
                  consensus=Consensus((ModelJudge(judge),)))
    report = run_build(build)
print(report.funnel[0].n_pairs, report.funnel[-1].n_pairs, lms[0].n_calls + lms[1].n_calls,
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time())
"""


def write(path: Path, n_rows: int) -> None:
    """So many battles; the judges are taken as they come until there are enough."""
    from simulations.raw_sources import arena_rows

    rows = arena_rows(n_rows // N_BATTLES + n_rows // 40, N_BATTLES)
    with path.open("w", encoding="utf-8") as file:
        for _, (row, _) in zip(range(n_rows), rows, strict=False):
            file.write(json.dumps(row) + "\n")


def measure(n_rows: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "arena.jsonl"
        write(raw, n_rows)
        command = [sys.executable, "-c", JOB, str(raw), str(Path(folder) / "out")]
        return [
            float(one) for one in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        ]


if __name__ == "__main__":
    sizes = [int(one) for one in sys.argv[1:]] or [10_000, 200_000]
    few, many = measure(sizes[0]), measure(sizes[-1])
    show(
        "memory of a build",
        {
            "raw rows": f"{sizes[0]:,} and {sizes[-1]:,}",
            "pairs built from, left at the end": f"{many[0]:,.0f}, {many[1]:,.0f}",
            "calls": many[2],
            "peak MB at few rows": few[3],
            "peak MB at many rows": many[3],
            "MB more (target: at most 50)": many[3] - few[3],
            "ms CPU a call": 1e3 * many[4] / many[2],
        },
    )
