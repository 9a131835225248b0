"""What benchmark scripts share: the median of five runs, a small table and the same figures as JSON."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def median_of_five(run: Callable[[], Any]) -> float:
    """Seconds of the middle one of five runs, after one that does not count."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with the module's text as it stands, and the option that `write_json` reads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    return parser


def write_json(result: Mapping[str, Any], file: Path | None) -> None:
    """Print the figures, and write them where the user asked for it."""
    text = json.dumps(result, indent=2)
    print(text)
    if file:
        file.write_text(text + "\n", encoding="utf-8")


def show(title: str, figures: dict[str, object]) -> None:
    print(f"{title}  ({platform.processor() or platform.machine()}, Python {platform.python_version()})")
    for name, value in figures.items():
        print(f"  {name:<52} {value:.4g}" if isinstance(value, float) else f"  {name:<52} {value}")
    print(json.dumps({"benchmark": title, **figures}))
