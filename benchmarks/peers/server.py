"""The fake server as a process, for our prompts and dspy's, with sequential depth in its log.

`python -m peers.server --rule skilled --latency-ms 200`, run inside benchmarks/; prints its URL when ready.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers.dspy_layout import Messages, in_both_layouts
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import Seen, fixed, skilled

SKILL = 0.85
_CERTAIN = skilled(1.0)


def leaning(messages: Messages) -> str:
    """A judge that leans to the first place, less so the more it is shown.

    It follows the taste it sees, as `skilled` does, on a share of the pairs that grows with the demonstrations (0.6 and
    0.05 for each, at most 0.9); on the others it says "first" in either order.
    """
    reply, seen = json.loads(_CERTAIN(messages)), Seen.of(messages)
    if "choice" not in reply:
        return json.dumps(reply)
    pair = hashlib.sha256("\0".join(sorted((seen.first, seen.second))).encode("utf-8", "surrogatepass")).digest()
    follows = int.from_bytes(pair[:4], "big") / 2**32 < min(0.9, 0.6 + 0.05 * len(seen.demonstrations))
    return json.dumps(reply if follows else reply | {"choice": "first"})


RULES = {"skilled": skilled(SKILL), "leaning": leaning, "fixed": fixed}


class DepthServer(FakeServer):
    """Adds to the log how many requests followed each other."""

    def __init__(self, rule: str, latency_s: float) -> None:
        super().__init__(in_both_layouts(RULES[rule]), latency_s=latency_s)
        self._each_takes_s = latency_s

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"waves": depth(self.log.moments, self._each_takes_s)}


def depth(moments: Sequence[float], latency_s: float) -> int:
    """Length of the longest chain of requests each of which came in after the one before was answered.

    Exact where all answers take equally long: the earliest that can follow leaves most room for the rest.
    """
    n, free_at = 0, float("-inf")
    for moment in sorted(moments):
        if moment >= free_at:
            n, free_at = n + 1, moment + latency_s
    return n


@contextmanager
def running(rule: str, latency_ms: float) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, "-m", "peers.server", "--rule", rule, "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def counts(url: str) -> dict[str, Any]:
    """The server's log."""
    with urllib.request.urlopen(url.replace("/v1", "/log")) as answer:
        return dict(json.load(answer))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rule", choices=sorted(RULES), required=True)
    parser.add_argument("--latency-ms", type=float, required=True)
    options = parser.parse_args()
    with DepthServer(options.rule, options.latency_ms / 1000.0) as server:
        print(server.url, flush=True)
        threading.Event().wait()
