"""Client CPU of one call, beside `openai`, `litellm` and dspy, each in its own environment.

20 KB prompts, 200 ms a call, 64 in flight, the server in a process of its own. Ours includes building the prompt, the
cache (look-up and durable write), reading and checking the reply; dspy includes its cache, which is on by default.
Target: at most 1/20 of dspy 2.6.24. `model_calls.py` has the row beside bare aiohttp.
"""

import tempfile
import time
from pathlib import Path

from _table import show
from peers.asking import CLIENTS, Item, ask, item_of, questions
from peers.environments import versions
from peers.server import running

from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.settings import Limits

N_CALLS, N_OURS, N_WARM, IN_FLIGHT = 512, 2_048, 64, 64
PERSONA = "Likes answers that " + "go to the point and " * 1000 + "stop."


def ours(url: str) -> float:
    """Milliseconds of CPU a call."""
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(
            open_model(ModelName("fake", url)), cache=Cache(Path(folder) / "c"), limits=Limits(max_in_flight=IN_FLIGHT)
        )
        with caller:
            judge = ModelJudge(caller)
            judge.judge(questions("warm", N_WARM, PERSONA))
            asked = questions("ours", N_OURS, PERSONA)
            cpu = time.process_time()
            verdicts = judge.judge(asked)
            spent = time.process_time() - cpu
    assert all(verdict.is_scored for verdict in verdicts)
    return 1000 * spent / N_OURS


def peer(client: str, url: str) -> float:
    """The same of a client in its own environment; a first short run pays for its imports and connections."""

    def items(run: str, n: int) -> list[Item]:
        return [item_of(question) for question in questions(f"{client} {run}", n, PERSONA)]

    runs = {"warm": (url, items("warm", N_WARM)), "timed": (url, items("timed", N_CALLS))}
    found = ask(client, runs, in_flight=IN_FLIGHT)
    failed = [one["error"] for one in found["timed"]["answers"] if "error" in one]
    assert not failed, failed[:3]
    return 1000 * float(found["timed"]["cpu_s"]) / N_CALLS


if __name__ == "__main__":
    for environment in ("clients", "package"):
        versions(environment, "dspy")  # made before anything is timed
    with running("fixed", 200) as url:
        spent = {"ours": ours(url)} | {client: peer(client, url) for client in CLIENTS}
    figures: dict[str, object] = {f"ms CPU a call, {client}": value for client, value in spent.items()}
    figures |= {f"{client} / ours": value / spent["ours"] for client, value in spent.items() if client != "ours"}
    figures |= versions("clients", "openai", "litellm", "dspy")
    show("client CPU a call (target: dspy 2.6.24 / ours at least 20)", figures)
