"""Which files are imported and in which order; timed runs name slow tests without their mark."""

import re

WHOLLY_SLOW = re.compile(r"^pytestmark = pytest\.mark\.slow\b", re.MULTILINE)
SLOW_S = 0.5


def pytest_ignore_collect(collection_path, config):
    """Their imports (torch, transformers) would take longer than all quick tests of a room."""
    if "not slow" in config.option.markexpr and collection_path.suffix == ".py":
        return WHOLLY_SLOW.search(collection_path.read_text(encoding="utf-8")) is not None or None
    return None


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that at the end of a run on several workers quick files fill the gaps.

    `make test` keeps this order: xdist's own puts files with few tests last, and the longest tests stand in such files.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter, config):
    """With `--durations`: unmarked tests that took more than half a second, which a busy machine also makes of others."""
    if config.option.durations is None:
        return
    for report in terminalreporter.stats.get("passed", []):
        if report.when == "call" and report.duration > SLOW_S and "slow" not in report.keywords:
            terminalreporter.write_line(f"{report.duration:.1f} s without the mark slow: {report.nodeid}")
