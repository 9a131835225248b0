"""CPU of `personalrm --help` beside that of importing click, in one run. Target: at most 3x."""

import resource
import subprocess
import sys

from _table import show

RUNS = 15


def cpu(command: list[str]) -> float:
    """Median CPU seconds of a child process."""
    times = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return sorted(times)[RUNS // 2]


if __name__ == "__main__":
    ours = cpu([sys.executable, "-m", "personalrm", "--help"])
    click = cpu([sys.executable, "-c", "import click"])
    show("start-up", {"personalrm --help, CPU s": ours, "import click, CPU s": click, "ratio": ours / click})
