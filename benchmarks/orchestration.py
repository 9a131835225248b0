"""Orchestration of model calls, our side: calls, depth, overlap of users, rate limits, prefixes, counted by the server.

The fake server runs in a process of its own. Targets: no duplicate; one fit in at most 1.15 x 5 x latency; 500 users
under a limit of 200 in flight in at most 1.05 x (calls x latency / 200) with less than 500 MB; at least 0.95 of what a
rate limit allows, told to us or found out by 429 and Retry-After.

About three minutes; `orchestration.py fit users many limits` runs some of its parts.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
from _table import show
from model_calls import fake_server

from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import synthesize
from personalrm.induction.waves import run_overlapping
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.settings import Limits
from personalrm.lm.wire import encode_request
from personalrm.preferences.people import example_users
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.users import User
from personalrm.testing import ScriptedLM
from personalrm.testing.skill import fixed_with_persona

BOTH = InductionSettings(variant="both")
LATENCY_S = 0.2
IDS = count()


def people(n_users: int, n_pairs: int) -> list[User]:
    """The example people under new ids, cut to a number of pairs, so that no two users share a request."""
    found = example_users()
    users = []
    for place in range(n_users):
        user, number = found[place % len(found)], next(IDS)
        pairs = (replace(p, user_id=f"u{number}", chosen=f"{p.chosen} [{number}]") for p in user.pairs[:n_pairs])
        users.append(User(f"u{number}", tuple(pairs)))
    return users


def log_of(url: str, *, reset: bool = False) -> dict[str, Any]:
    if reset:
        urllib.request.urlopen(urllib.request.Request(url.replace("/v1", "/reset"), method="POST"))
    log: dict[str, Any] = json.load(urllib.request.urlopen(url.replace("/v1", "/log")))
    return log


@contextmanager
def opened_judge(url: str, limits: Limits) -> Iterator[ModelJudge]:
    with tempfile.TemporaryDirectory() as folder:
        lm = open_model(ModelName("fake", url))
        with Caller(lm, cache=Cache(Path(folder) / "c"), limits=limits) as caller:
            yield ModelJudge(caller)


def induce(
    judge: ModelJudge, users: list[User], settings: InductionSettings = BOTH
) -> tuple[float, list[PersonalPrompt | None]]:
    """Wall seconds and the prompts."""
    inductions = (synthesize(user.user_id, user.pairs, settings, judge="fake") for user in users)
    started = time.perf_counter()
    at_once = judge.caller.limits.max_in_flight
    done = sorted(run_overlapping(inductions, judge, users_at_once=at_once), key=lambda one: one.place)
    return time.perf_counter() - started, [one.prompt for one in done]


def fit(
    url: str, users: list[User], limits: Limits, settings: InductionSettings = BOTH
) -> tuple[float, dict[str, Any], list[PersonalPrompt | None]]:
    """Wall seconds, the server's log, and the prompts."""
    before = log_of(url, reset=True)
    with opened_judge(url, limits) as judge:
        wall, prompts = induce(judge, users, settings)
    log = log_of(url)
    return wall, log | {"cpu_s": log["cpu_s"] - before["cpu_s"]}, prompts


def one_fit() -> dict[str, object]:
    """A fit alone: start-up (imports, connections, a file for the cache) is made by a fit of somebody else before."""
    unlimited = Limits(max_in_flight=10_000)
    with fake_server("--rule", "skilled", "--latency-ms", str(1000 * LATENCY_S)) as url:
        walls = []
        for _ in range(5):
            with opened_judge(url, unlimited) as judge:
                induce(judge, people(1, 10))
                walls.append(induce(judge, people(1, 10))[0])
        users = people(1, 10)
        cold, log, prompts = fit(url, users, unlimited)
        _, cost, same = fit(url, users, unlimited, replace(BOTH, schedule="cost"))
    return {
        "one fit, calls": log["calls"],
        "one fit, duplicates": log["duplicates"],
        "one fit, wall of 5 waves, median of 5 (target 1.15)": median(walls) / (5 * LATENCY_S),
        "one fit, the same, opening connections": cold / (5 * LATENCY_S),
        "prefix characters seen before": log["prefix_seen"],
        "of at most": log["prefix_optimum"],
        "schedule=cost, calls": cost["calls"],
        "schedule=cost, same prompt": prompts == same,
    }


def some_users() -> dict[str, object]:
    figures: dict[str, object] = {}
    with fake_server("--rule", "skilled", "--latency-ms", str(1000 * LATENCY_S)) as url:
        for n_users in (12, 100):
            wall, log, _ = fit(url, people(n_users, 10), Limits(max_in_flight=256))
            figures |= {
                f"{n_users} users, wall s": wall,
                f"{n_users} users, requests a user": log["requests"] / n_users,
                f"{n_users} users, duplicates": log["duplicates"],
            }
    return figures


def many_users() -> dict[str, object]:
    arguments = ("--rule", "fixed-persona", "--latency-ms", str(1000 * LATENCY_S), "--max-in-flight", "200")
    with fake_server(*arguments) as url:
        cpu = time.process_time()
        wall, log, _ = fit(url, people(500, 10), Limits(max_in_flight=200))
        cpu = time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        bodies = recorded(people(75, 10))
        bare_wall = asyncio.run(send_bare(url, bodies))
    return {
        "500 users, calls": log["calls"],
        "500 users, 429 met": log["statuses"].get("429", 0),
        "500 users, wall s": wall,
        "500 users, wall of the ideal (target 1.05)": wall / (log["calls"] * LATENCY_S / 200),
        "bare aiohttp, wall of the ideal, such requests": bare_wall / (len(bodies) * LATENCY_S / 200),
        "500 users, ms CPU a call": 1000 * cpu / log["requests"],
        "500 users, ms CPU a call of the server": 1000 * log["cpu_s"] / log["requests"],
        "500 users, peak MB (target under 500)": peak,
    }


def recorded(users: list[User]) -> list[bytes]:
    """The requests of such users as bodies, in the order in which they leave."""
    lm = ScriptedLM(fixed_with_persona)
    with Caller(lm, limits=Limits(max_in_flight=200)) as caller:
        induce(ModelJudge(caller), users)
    return [encode_request(request, "fake", extra={"seed": 0}) for request in lm.requests]


async def send_bare(url: str, bodies: list[bytes]) -> float:
    """Wall seconds of bare aiohttp, 200 in flight."""
    waiting = iter(bodies)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def worker() -> None:
            for body in waiting:
                async with session.post(f"{url}/chat/completions", data=body) as response:
                    assert (await response.json())["choices"]

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(200)))
        return time.perf_counter() - started


def limited() -> dict[str, object]:
    """Of rate x wall plus the second's worth that the server lets run ahead."""
    figures: dict[str, object] = {}
    for name, limit in (("requests", 6_000), ("tokens", 9_000_000)):
        for told in (True, False):
            with fake_server("--rule", "skilled", "--latency-ms", "50", f"--{name}-per-minute", str(limit)) as url:
                limits = Limits(64, **({f"{name}_per_minute": float(limit)} if told else {}))
                wall, log, prompts = fit(url, people(20, 8), limits)
            assert None not in prompts
            row = f"{name} limited, {'told' if told else 'found out by 429'}"
            used = log["answered" if name == "requests" else "tokens"]
            figures |= {
                f"{row}, share (target 0.95)": used / (limit / 60 * (wall + 1)),
                f"{row}, wall s": wall,
                f"{row}, 429 met": log["statuses"].get("429", 0),
            }
    return figures


PARTS = {"fit": one_fit, "users": some_users, "many": many_users, "limits": limited}

if __name__ == "__main__":
    figures: dict[str, object] = {}
    for part in sys.argv[1:] or PARTS:
        figures |= PARTS[part]()
    show("orchestration", figures)
