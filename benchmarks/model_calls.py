"""Client CPU a call and throughput of the door to language models, beside bare aiohttp in the same run.

The fake server runs in a process of its own; 20 KB prompts, 200 ms a call, 256 in flight. Ours includes building the
prompt, the cache (look-up and durable write), reading and checking the reply. Targets: at most 3x the CPU of bare
aiohttp, at least 0.95 of its throughput.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from _table import show

from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.settings import Limits
from personalrm.lm.wire import request_body
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import Question

N_CALLS, IN_FLIGHT, LATENCY_MS = 5_000, 256, 200
PERSONA = Persona((Claim("Likes answers that " + "go straight to the point without preamble and " * 380 + "stop."),))


@contextmanager
def fake_server(*arguments: str) -> Iterator[str]:
    """The base URL of a fake server in a process of its own."""
    command = [sys.executable, "-m", "personalrm.testing.fake_server", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def questions(run: str) -> list[Question]:
    return [
        Question("u", (Message("user", f"{run} {number}?"),), f"first {number}", f"second {number}", PERSONA)
        for number in range(N_CALLS)
    ]


def ours(url: str, run: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(
            open_model(ModelName("fake", url)), cache=Cache(Path(folder) / "c"), limits=Limits(max_in_flight=IN_FLIGHT)
        )
        with caller:
            judge = ModelJudge(caller)
            judge.judge(questions("warm")[:IN_FLIGHT])
            asked = questions(run)
            wall, cpu = time.perf_counter(), time.process_time()
            verdicts = judge.judge(asked)
            spent = time.perf_counter() - wall, time.process_time() - cpu
        assert all(verdict.is_scored for verdict in verdicts)
    return spent


def bare(url: str, run: str) -> tuple[float, float]:
    judge = ModelJudge(Caller(open_model(ModelName("fake", url))))
    bodies = [
        request_body(judge.judge_request(question, "judge"), "fake", extra={"seed": 0}) for question in questions(run)
    ]

    async def run_all() -> tuple[float, float]:
        waiting = iter(bodies)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def worker() -> None:
                for body in waiting:
                    async with session.post(f"{url}/chat/completions", json=body) as response:
                        assert (await response.json())["choices"]

            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
            return time.perf_counter() - wall, time.process_time() - cpu

    return asyncio.run(run_all())


if __name__ == "__main__":
    with fake_server("--rule", "fixed", "--latency-ms", str(LATENCY_MS)) as url:
        runs = [(ours(url, f"ours {k}"), bare(url, f"bare {k}")) for k in range(3)]
    our_wall, bare_wall = (sorted(run[side][0] for run in runs)[1] for side in (0, 1))
    our_cpu, bare_cpu = (sorted(run[side][1] for run in runs)[1] for side in (0, 1))
    ideal = N_CALLS / IN_FLIGHT * LATENCY_MS / 1000
    show(
        "model calls",
        {
            "calls": N_CALLS,
            "ms CPU a call": 1000 * our_cpu / N_CALLS,
            "ms CPU a call, bare aiohttp": 1000 * bare_cpu / N_CALLS,
            "CPU ratio (target at most 3)": our_cpu / bare_cpu,
            "calls/s": N_CALLS / our_wall,
            "calls/s, bare aiohttp": N_CALLS / bare_wall,
            "throughput ratio (target 0.95)": bare_wall / our_wall,
            "throughput of the ideal, ours": ideal / our_wall,
            "throughput of the ideal, bare aiohttp": ideal / bare_wall,
        },
    )
