"""Faulty replies beside peers: what `openai`, `litellm` and `dspy` make of them at their defaults, and what we do.

For each kind of fault 300 calls, 20 % of attempts faulty (seeded; the same call fails at most three times in a row), 16
in flight; each client in an environment of its own, a server of its own for each kind. Counted: calls finished with the
right answer; errors raised (ours: unscored, with the reason); answers handed back without an error that are null, cut
off, or not what the model said; requests, counted by the server. `openai` and `litellm` hand over text, so a reply that
contradicts itself reaches the caller as it is; dspy and we read it.

`--calls 60` makes it short, `--kinds null length` picks kinds, `--clients openai ours` picks clients.
"""

import argparse
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from peers.asking import CLIENTS, ask, item_of, numbered, questions
from peers.dspy_layout import in_both_layouts
from peers.environments import versions

from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.settings import Limits
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.faults import TRANSIENT, Faults

RATE = 0.2
PATIENCE_S = 0.005  # a byte of the "byte a second", a hundredth of "never answered": time is not what is counted here
IN_FLIGHT, AT_ONCE = 16, 6
TOO_HEAVY = {"huge chunked", "gzip bomb"}  # a client that reads 200 MB sixty times tells nothing new
KINDS = tuple(kind for kind in TRANSIENT if kind not in TOO_HEAVY)
OUTCOMES = ("right", "error", "null", "cut off", "other")
Row = dict[str, Any]


def outcome(answer: Row, number: int) -> str:
    """What became of one call."""
    if "error" in answer:
        return "error"
    text, expected = answer["text"], json.loads(numbered([{"content": f"call-{number}"}]))
    if text is None:
        return "null"
    if text == json.dumps(expected) or text == json.dumps({**expected, "reasoning": f"My choice: because {number}"}):
        return "right"
    return "cut off" if json.dumps(expected).startswith(text) else "other"


def rows_of_peer(client: str, kinds: list[str], n_calls: int) -> dict[str, Row]:
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(faulty_server(kind)) for kind in kinds}
        asked = {kind: [item_of(q) for q in questions(kind, n_calls, "Likes it.")] for kind in kinds}
        found = ask(client, {kind: (servers[kind].url, asked[kind]) for kind in kinds}, in_flight=IN_FLIGHT)
        return {
            kind: row(Counter(outcome(one, k) for k, one in enumerate(found[kind]["answers"])), servers[kind])
            for kind in kinds
        }


def rows_of_ours(kinds: list[str], n_calls: int) -> dict[str, Row]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(zip(kinds, threads.map(lambda kind: row_of_ours(kind, n_calls), kinds), strict=True))


def row_of_ours(kind: str, n_calls: int) -> Row:
    with faulty_server(kind) as server:
        model = open_model(ModelName("fake", server.url))
        with Caller(model, cache=Cache(":memory:"), limits=Limits(max_in_flight=IN_FLIGHT)) as caller:
            verdicts = ModelJudge(caller).judge(questions(kind, n_calls, "Likes it."))
        answers = [
            {"text": json.dumps({"reasoning": one.reasoning, "choice": one.choice})}
            if one.is_scored
            else {"error": one.unscored_reason}
            for one in verdicts
        ]
        return row(Counter(outcome(one, k) for k, one in enumerate(answers)), server)


def faulty_server(kind: str) -> FakeServer:
    return FakeServer(in_both_layouts(numbered), faults=Faults(kinds=(kind,), rate=RATE), patience_s=PATIENCE_S)


def row(found: Counter[str], server: FakeServer) -> Row:
    return {name: found[name] for name in OUTCOMES} | {"requests": server.log.n_requests}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--clients", choices=("ours", *CLIENTS), nargs="+", default=["ours", *CLIENTS])
    options = parser.parse_args()
    print(versions("clients", "openai", "litellm", "dspy"), versions("package", "litellm", "dspy"))
    print(f"{'client':12} {'fault':22} " + " ".join(f"{name:>8}" for name in (*OUTCOMES, "requests")))

    def rows(client: str) -> dict[str, Row]:
        return (rows_of_ours if client == "ours" else partial(rows_of_peer, client))(options.kinds, options.calls)

    table = {}
    with ThreadPoolExecutor(len(options.clients)) as threads:
        for client, found in zip(options.clients, threads.map(rows, options.clients), strict=True):
            table[client] = found
            for kind, one in found.items():
                print(f"{client:12} {kind:22} " + " ".join(f"{one[name]:>8}" for name in (*OUTCOMES, "requests")))
    print(json.dumps({"benchmark": "reply faults", "calls": options.calls, "rate": RATE, "rows": table}))


if __name__ == "__main__":
    main()
