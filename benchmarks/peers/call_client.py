"""Asks lists of questions through one client library at its defaults. Runs in the library's own environment.

`python call_client.py CLIENT PLAN.json RESULT.json`, CLIENT one of openai, litellm, dspy. The plan names for each run
its server and its questions; the result has for each what came back, as a careful caller takes it: the text of the
first choice, or the error that stood in its place. dspy's cache lies in a fresh folder and is on, as by default.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Item = dict[str, Any]
AskLater = Callable[[Item], Awaitable[Any]]
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise importing it waits for a download


def openai_asker(url: str) -> AskLater:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="local")

    async def ask(item: Item) -> Any:
        found = await client.chat.completions.create(model="fake", messages=item["messages"])
        return found.choices[0].message.content

    return ask


def litellm_asker(url: str) -> AskLater:
    import litellm

    async def ask(item: Item) -> Any:
        found = await litellm.acompletion("openai/fake", item["messages"], api_base=url, api_key="local")
        return found.choices[0].message.content

    return ask


def dspy_asker(url: str) -> Callable[[Item], Any]:
    from typing import Literal

    import dspy

    class Judge(dspy.Signature):  # type: ignore[misc]  # dspy is not installed here
        conversation: str = dspy.InputField()
        first_completion: str = dspy.InputField()
        second_completion: str = dspy.InputField()
        reasoning: str = dspy.OutputField()
        preference: Literal["First", "Second"] = dspy.OutputField()

    dspy.configure(lm=dspy.LM("openai/fake", api_base=url, api_key="local"))
    judges: dict[str, Any] = {}

    def ask(item: Item) -> Any:
        persona = item["persona"]
        if persona not in judges:
            judges[persona] = dspy.Predict(Judge.with_instructions(f"Judge. FOLLOWING PERSONA: ===\n{persona}\n==="))
        found = judges[persona](
            conversation=item["conversation"], first_completion=item["first"], second_completion=item["second"]
        )
        if found.preference is None:
            return None
        return json.dumps({"reasoning": found.reasoning, "choice": found.preference.lower()})

    return ask


def answer(ask: Callable[[Item], Any], item: Item) -> Item:
    try:
        return {"text": ask(item)}
    except Exception as error:  # noqa: BLE001  # every error of the library is an outcome here
        return {"error": type(error).__name__}


async def answer_later(ask: AskLater, item: Item, free: asyncio.Semaphore) -> Item:
    async with free:
        try:
            return {"text": await ask(item)}
        except Exception as error:  # noqa: BLE001
            return {"error": type(error).__name__}


def answers(client: str, url: str, items: list[Item], in_flight: int) -> list[Item]:
    if client == "dspy":
        ask = dspy_asker(url)
        with ThreadPoolExecutor(in_flight) as threads:
            return list(threads.map(lambda item: answer(ask, item), items))

    async def run() -> list[Item]:
        ask = {"openai": openai_asker, "litellm": litellm_asker}[client](url)
        free = asyncio.Semaphore(in_flight)
        return await asyncio.gather(*(answer_later(ask, item, free) for item in items))

    return asyncio.run(run())


def main(client: str, plan_file: str, result_file: str) -> None:
    with open(plan_file) as file:
        plan = json.load(file)
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DSPY_CACHEDIR"] = cache
        for name, run in plan["runs"].items():
            wall, cpu = time.perf_counter(), time.process_time()
            listed = answers(client, run["url"], run["items"], plan["in_flight"])
            spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            found[name] = {"answers": listed, **spent}
            print(name, round(spent["wall_s"], 1), file=sys.stderr, flush=True)
    with open(result_file, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
