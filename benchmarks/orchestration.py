"""Orchestration of model calls, our side: calls, depth, overlap of users, rate limits, prefixes, counted by the server.

The fake server runs in a process of its own. Targets: no duplicate; one fit in at most 1.15 x 5 x latency; 500 users
under a limit of 200 in flight in at most 1.05 x (calls x latency / 200) with less than 500 MB; at least 0.95 of what a
rate limit allows.
"""

import json
import resource
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

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
from personalrm.preferences.people import example_users
from personalrm.preferences.users import User

BOTH = InductionSettings(variant="both")


def people(n_users: int, n_pairs: int) -> list[User]:
    """The example people under new ids, cut to a number of pairs, so that no two users share a request."""
    found = example_users()
    users = []
    for number in range(n_users):
        user = found[number % len(found)]
        pairs = (replace(p, user_id=f"u{number}", chosen=f"{p.chosen} [{number}]") for p in user.pairs[:n_pairs])
        users.append(User(f"u{number}", tuple(pairs)))
    return users


def fit(url: str, users: list[User], limits: Limits, settings: InductionSettings = BOTH) -> tuple[float, dict, list]:
    """Wall seconds, the server's log, and the prompts."""
    urllib.request.urlopen(urllib.request.Request(url.replace("/v1", "/reset"), method="POST"))
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(open_model(ModelName("fake", url)), cache=Cache(Path(folder) / "c"), limits=limits)
        with caller:
            judge = ModelJudge(caller)
            inductions = (synthesize(user.user_id, user.pairs, settings, judge="fake") for user in users)
            started = time.perf_counter()
            done = sorted(
                run_overlapping(inductions, judge, users_at_once=limits.max_in_flight), key=lambda one: one.place
            )
            wall = time.perf_counter() - started
    log = json.load(urllib.request.urlopen(url.replace("/v1", "/log")))
    return wall, log, [one.prompt for one in done]


if __name__ == "__main__":
    figures: dict[str, object] = {}
    with fake_server("--rule", "skilled", "--latency-ms", "200") as url:
        fit(url, people(1, 4), Limits(max_in_flight=10_000))  # connections and imports
        wall, log, prompts = fit(url, people(1, 10), Limits(max_in_flight=10_000))
        figures |= {"one fit, calls": log["calls"], "one fit, duplicates": log["duplicates"]}
        figures |= {"one fit, wall of 5 waves (target 1.15)": wall / (5 * 0.2)}
        figures |= {"prefix characters seen before": log["prefix_seen"], "of at most": log["prefix_optimum"]}
        _, cost, same = fit(
            url, people(1, 10), Limits(max_in_flight=10_000), InductionSettings("both", schedule="cost")
        )
        figures |= {"schedule=cost, calls": cost["calls"], "schedule=cost, same prompt": prompts == same}
        for n_users in (12, 100):
            wall, log, _ = fit(url, people(n_users, 10), Limits(max_in_flight=256))
            figures |= {
                f"{n_users} users, wall s": wall,
                f"{n_users} users, requests a user": log["requests"] / n_users,
            }
    with fake_server("--rule", "fixed-persona", "--latency-ms", "200", "--max-in-flight", "200") as url:
        wall, log, _ = fit(url, people(500, 10), Limits(max_in_flight=200))
        figures |= {"500 users, calls": log["calls"], "500 users, wall s": wall}
        figures |= {"500 users, wall of the ideal (target 1.05)": wall / (log["calls"] * 0.2 / 200)}
        figures |= {"500 users, peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    for name, limit in (("requests", "6000"), ("tokens", "3000000")):
        with fake_server("--rule", "skilled", "--latency-ms", "50", f"--{name}-per-minute", limit) as url:
            key = f"{name}_per_minute"
            wall, log, _ = fit(url, people(10, 8), Limits(max_in_flight=64, **{key: float(limit)}))
            share = log["answered"] / (wall * 100) if name == "requests" else None
            figures |= {f"{name} limited, 429 met": log["statuses"].get("429", 0), f"{name} limited, wall s": wall}
            if share is not None:
                figures |= {"requests limited, share of the limit (target 0.95)": share}
    show("orchestration", figures)
